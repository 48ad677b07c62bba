package doctor

import (
	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// Facts is what matters of a node.
type Facts struct {
	UID          int
	Architecture string // as Go calls it
	Config       *policy.Config
	ConfigFrom   string // its path; "" for the built-in one
	ConfigErr    error
	Kernel       Kernel
	Cgroup       Cgroup
	PinsErr      error // why Config.Paths.BPF is not on a bpffs
	NotifyErr    error // why the kernel has no seccomp user notification
	Containerd   Program
	Runc         Program
	Below        Program // what shimward runc starts, where Config names it
	BelowErr     error   // why it cannot be started
	Shim         Program
	Unserved     bool    // no containerd looks in the folder that Shim is in
	Hook         Program // shimward-hook, beside the shim
}

// Kernel is what it takes of shimward's programs.
type Kernel struct {
	Release  string
	LSMs     string // the active ones, in the kernel's own words; "" where it does not tell
	BTF      error
	Tracing  error       // why no tp_btf program, or what such a program needs, loads
	LSM      error       // why no LSM program loads, attaches and is called
	Tier     access.Tier // that shimward's own programs came up in; 0: they did not, or were not tried
	Programs error       // why they did not
	Loaded   bool        // they have been loaded since the boot, for the node's containers
}

// Cgroup is how cgroups are mounted.
type Cgroup struct {
	Mount  string // of the v2 hierarchy; "" where there is none
	Hybrid bool   // there are v1 hierarchies with controllers beside it
}

// Program is an executable that shimward works with.
type Program struct {
	Path    string // "" where it was not found
	Version string // as it says itself; "" for what was not asked
	Seccomp string // runc's: the version of its libseccomp
	Err     error
}

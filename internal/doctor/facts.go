package doctor

import (
	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// Facts is what Diagnose needs to know about a node.
type Facts struct {
	UID          int
	Architecture string // a GOARCH value
	Config       *policy.Config
	ConfigFrom   string // path of the config file; "" for the built-in config
	ConfigErr    error
	Kernel       Kernel
	Cgroup       Cgroup
	PinsErr      error // why Config.Paths.BPF is not on a bpffs
	NotifyErr    error // why the kernel has no seccomp user notification
	Containerd   Program
	Runc         Program
	Below        Program // what `shimward runc` starts, if Config names it
	BelowErr     error   // why Below cannot be started
	Shim         Program
	Unserved     bool    // no containerd looks in the folder of Shim
	Hook         Program // shimward-hook, next to the shim
}

// Kernel is what the kernel offers to shimward's programs.
type Kernel struct {
	Release  string
	LSMs     string // the active LSMs, in the kernel's format; "" if the kernel does not report them
	BTF      error
	Tracing  error       // why no tp_btf program loads, or what such a program needs is missing
	LSM      error       // why no LSM program loads, attaches and is called
	Tier     access.Tier // the tier in which shimward's own programs came up; 0 if they failed or were not tried
	Programs error       // why shimward's own programs did not come up
	Loaded   bool        // shimward's programs have been loaded since boot, for the node's containers
}

// Cgroup is how cgroups are mounted.
type Cgroup struct {
	Mount  string // mount point of the v2 hierarchy; "" if there is none
	Hybrid bool   // v1 hierarchies with controllers are mounted next to it
}

// Program is an executable that shimward works with.
type Program struct {
	Path    string // "" if it was not found
	Version string // as the program reports it; "" if it was not asked
	Seccomp string // runc only: the version of its libseccomp
	Err     error
}

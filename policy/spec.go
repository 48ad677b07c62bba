package policy

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Spec is the part of a runtime-spec config.json, before shimward changes it, that shimward's
// decisions depend on. It has no more fields than that: a container waits for the parsing, and
// parsing a full specs.Spec takes twice as long.
type Spec struct {
	Annotations map[string]string `json:"annotations"`
	Root        struct {
		Path string `json:"path"`
	} `json:"root"`
	Process *SpecProcess  `json:"process"`
	Mounts  []specs.Mount `json:"mounts"`
	Linux   *SpecLinux    `json:"linux"`
	// NodePID lists the paths in Linux.Namespaces that are the node's own pid namespace: CRI refers
	// to it by a path, as it does to another container's.
	NodePID []string `json:"-"`
}

// SpecProcess is a [Spec]'s part of specs.Process.
type SpecProcess struct {
	Args         []string                 `json:"args"`
	Capabilities *specs.LinuxCapabilities `json:"capabilities"`
}

// SpecLinux is a [Spec]'s part of specs.Linux.
type SpecLinux struct {
	CgroupsPath string                 `json:"cgroupsPath"`
	Namespaces  []specs.LinuxNamespace `json:"namespaces"`
	Seccomp     *specs.LinuxSeccomp    `json:"seccomp"`
	Devices     []specs.LinuxDevice    `json:"devices"`
	Resources   *SpecResources         `json:"resources"`
}

// SpecResources is a [Spec]'s part of specs.LinuxResources.
type SpecResources struct {
	Devices []specs.LinuxDeviceCgroup `json:"devices"`
}

// Args returns the arguments of the container's program.
func (s *Spec) Args() []string {
	if s.Process == nil {
		return nil
	}
	return s.Process.Args
}

// Profile returns the container's seccomp profile, or nil.
func (s *Spec) Profile() *specs.LinuxSeccomp {
	if s.Linux == nil {
		return nil
	}
	return s.Linux.Seccomp
}

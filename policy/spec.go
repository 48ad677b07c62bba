package policy

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Spec is the part of a runtime-spec config.json that shimward decides by, before it
// changes it. It is no more than that: a container waits for it to be parsed, and all
// of a specs.Spec takes twice as long.
type Spec struct {
	Annotations map[string]string `json:"annotations"`
	Root        struct {
		Path string `json:"path"`
	} `json:"root"`
	Process *SpecProcess  `json:"process"`
	Mounts  []specs.Mount `json:"mounts"`
	Linux   *SpecLinux    `json:"linux"`
	// NodePID are the paths of Linux.Namespaces that are the node's own pid
	// namespace: CRI names it by a path, as it does a neighbour's.
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

// Args are the arguments of the container's program.
func (s *Spec) Args() []string {
	if s.Process == nil {
		return nil
	}
	return s.Process.Args
}

// Profile is the container's seccomp profile, or nil.
func (s *Spec) Profile() *specs.LinuxSeccomp {
	if s.Linux == nil {
		return nil
	}
	return s.Linux.Seccomp
}

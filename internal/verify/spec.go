package verify

import (
	"fmt"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// inside is the path of shimward's own binary in the containers.
const inside = "/bin/shimward"

// makeSpec returns the spec of a container that runs self, with the capabilities that its attacks
// need and nothing masked, because shimward is to refuse the attacks and nothing else. pidOf names
// a process whose pid namespace is joined; 0 stands for a new pid namespace.
func makeSpec(id, root, self string, pidOf uint32, annotations map[string]string, args ...string) *specs.Spec {
	capabilities := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETUID",
		"CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_MKNOD",
	}
	pids := specs.LinuxNamespace{Type: specs.PIDNamespace}
	if pidOf != 0 {
		pids.Path = fmt.Sprintf("/proc/%d/ns/pid", pidOf)
	}
	nodev := []string{"nosuid", "noexec", "nodev"}
	return &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: root},
		Annotations: annotations,
		Process: &specs.Process{
			Args: append([]string{inside}, args...), Cwd: "/", Env: []string{"PATH=" + filepath.Dir(inside)}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: nodev},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append([]string{"ro"}, nodev...)},
			{Destination: inside, Type: "bind", Source: self, Options: []string{"bind", "ro"}},
		},
		Linux: &specs.Linux{
			// At the top of the hierarchy, because runc does not remove parent cgroups that it
			// creates.
			CgroupsPath: "/" + id,
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
				{Access: "rwm"}, memoryDevice(1), memoryDevice(4),
			}},
			Namespaces: []specs.LinuxNamespace{
				pids, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

// memoryDevice allows a device of drivers/char/mem.c to be made, and opened for reading.
func memoryDevice(minor int64) specs.LinuxDeviceCgroup {
	major := int64(1)
	return specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rm"}
}

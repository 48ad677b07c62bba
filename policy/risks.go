package policy

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Risk is something in a container's spec that weakens or bypasses what shimward enforces. Its
// value is the name that configs and events use.
type Risk string

// Finding is a Risk found in a spec.
type Finding struct {
	Risk  Risk
	Where string // the runtime-spec field that it comes from, and its value
}

// The risks other than single capabilities.
const (
	RiskPrivileged        Risk = "privileged"         // CAP_SYS_ADMIN, and every device of the node
	RiskHostPID           Risk = "host_pid"           // the node's pid namespace: every process on it can be named
	RiskSharedPID         Risk = "shared_pid"         // another container's pid namespace, with the processes in it
	RiskSeccompUnconfined Risk = "seccomp_unconfined" // no seccomp profile but shimward's rules
	RiskMemoryDevice      Risk = "memory_device"      // /dev/mem, /dev/kmem, /dev/port, /dev/snapshot or a CPU's registers
	RiskHostRoot          Risk = "host_root"          // the node's root file system
	RiskHostProcfs        Risk = "host_procfs"        // the node's /proc
	RiskHostCgroupfs      Risk = "host_cgroupfs"      // the node's /sys/fs/cgroup
	RiskHostBPFFS         Risk = "host_bpffs"         // the node's BPF file system, with shimward's pins
	RiskHostTracefs       Risk = "host_tracefs"       // the node's tracefs, or debugfs, which includes it: probes on any process
	RiskRuntimeSocket     Risk = "runtime_socket"     // the socket of a container engine, which can start other containers
	RiskShimwardState     Risk = "shimward_state"     // shimward's own folders: sockets, plans, events
)

// riskyCapabilities are the capabilities that let a process reach memory despite, or around, the
// checks that shimward relies on.
var riskyCapabilities = [...]string{
	"CAP_SYS_PTRACE",         // another user's processes (kernel/ptrace.c, __ptrace_may_access)
	"CAP_SYS_ADMIN",          // mounts, bpf(2) by ID, map_files
	"CAP_SYS_RAWIO",          // /proc/kcore, /dev/mem
	"CAP_SYS_MODULE",         // code in the kernel
	"CAP_BPF",                // programs in the kernel
	"CAP_PERFMON",            // programs that read memory, perf events on other processes
	"CAP_CHECKPOINT_RESTORE", // map_files, choosing a pid
}

// The sockets of container engines, where Kubernetes distributions and Docker put them.
var engineSockets = [...]string{
	"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker.sock", "/run/crio/crio.sock",
	"/run/podman/podman.sock", "/run/cri-dockerd.sock",
}

// riskOf returns the risk of having a capability: cap_sys_ptrace for CAP_SYS_PTRACE.
func riskOf(capability string) Risk { return Risk(strings.ToLower(capability)) }

// KnownRisks returns all risks, sorted by name.
func KnownRisks() []Risk {
	risks := []Risk{
		RiskPrivileged, RiskHostPID, RiskSharedPID, RiskSeccompUnconfined, RiskMemoryDevice, RiskHostRoot, RiskHostProcfs,
		RiskHostCgroupfs, RiskHostBPFFS, RiskHostTracefs, RiskRuntimeSocket, RiskShimwardState,
	}
	for _, capability := range riskyCapabilities {
		risks = append(risks, riskOf(capability))
	}
	slices.Sort(risks)
	return risks
}

// Risks returns the risks of a spec, sorted by name, each once. Mount sources are judged as
// written: a symbolic link on the node that leads to one of the places above is not followed.
func (p Paths) Risks(spec *Spec) []Finding {
	var found []Finding
	add := func(risk Risk, where string, values ...any) {
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Risk == risk }) {
			found = append(found, Finding{Risk: risk, Where: fmt.Sprintf(where, values...)})
		}
	}
	capabilities := spec.capabilities()
	for _, capability := range riskyCapabilities {
		if slices.Contains(capabilities, capability) {
			add(riskOf(capability), "process.capabilities has %s", capability)
		}
	}
	linux := spec.Linux
	if linux == nil {
		linux = &SpecLinux{} // no namespaces, no seccomp
	}
	if linux.allDevices() && slices.Contains(capabilities, "CAP_SYS_ADMIN") {
		add(RiskPrivileged, "process.capabilities has CAP_SYS_ADMIN, and linux.resources.devices allows all")
	}
	linux.namespaceRisks(spec.NodePID, add)
	if linux.Seccomp == nil {
		add(RiskSeccompUnconfined, "linux.seccomp is missing")
	}
	for _, device := range linux.Devices {
		if memoryDevice(device) {
			add(RiskMemoryDevice, "linux.devices has %s", quote(device.Path))
		}
	}
	for _, mount := range spec.Mounts {
		p.mountRisks(mount, add)
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(string(a.Risk), string(b.Risk)) })
	return found
}

// capabilities returns every capability that a process of the container can have, at most by
// executing a file that has some.
func (s *Spec) capabilities() []string {
	if s.Process == nil || s.Process.Capabilities == nil {
		return nil // runc treats this as none
	}
	c := s.Process.Capabilities
	return slices.Concat(c.Bounding, c.Effective, c.Permitted, c.Inheritable, c.Ambient)
}

func (l *SpecLinux) allDevices() bool {
	if l.Resources == nil {
		return false
	}
	return slices.ContainsFunc(l.Resources.Devices, func(rule specs.LinuxDeviceCgroup) bool {
		whichever := func(number *int64) bool { return number == nil || *number < 0 }
		return rule.Allow && whichever(rule.Major) && whichever(rule.Minor) && strings.Contains(rule.Access, "r") && strings.Contains(rule.Access, "w")
	})
}

func (l *SpecLinux) namespaceRisks(nodePID []string, add func(Risk, string, ...any)) {
	own := false
	for _, namespace := range l.Namespaces {
		if namespace.Type != specs.PIDNamespace {
			continue
		}
		own = true
		if slices.Contains(nodePID, namespace.Path) {
			add(RiskHostPID, "linux.namespaces has the node's pid namespace, %s", quote(namespace.Path))
		} else if namespace.Path != "" {
			add(RiskSharedPID, "linux.namespaces has the pid namespace %s", quote(namespace.Path))
		}
	}
	if !own {
		add(RiskHostPID, "linux.namespaces has no pid namespace")
	}
}

// memoryDevice reports whether device is /dev/mem, /dev/kmem or /dev/port, by their numbers
// (drivers/char/mem.c), /dev/snapshot, through which a hibernation image is written and read
// (kernel/power/user.c), or /dev/cpu/<n>/msr, through which the kernel's own code can be replaced
// (MSR_MAJOR).
func memoryDevice(device specs.LinuxDevice) bool {
	if device.Type != "c" && device.Type != "u" {
		return false
	}
	switch device.Major {
	case 1:
		return device.Minor == 1 || device.Minor == 2 || device.Minor == 4
	case 10:
		return device.Minor == 231
	case 202:
		return true
	default:
		return false
	}
}

func (p Paths) mountRisks(mount specs.Mount, add func(Risk, string, ...any)) {
	switch mount.Type {
	case "bpf":
		add(RiskHostBPFFS, "mounts has a BPF file system at %s", quote(mount.Destination))
	case "tracefs", "debugfs":
		add(RiskHostTracefs, "mounts has a %s at %s", mount.Type, quote(mount.Destination))
	}
	bind := mount.Type == "bind" || slices.Contains(mount.Options, "bind") || slices.Contains(mount.Options, "rbind")
	if !bind {
		return
	}
	source := canonical(mount.Source)
	if source == "/" {
		add(RiskHostRoot, "mounts has %s at %s", quote(mount.Source), quote(mount.Destination))
	}
	places := []struct {
		risk  Risk
		paths []string
	}{
		{RiskHostProcfs, []string{"/proc"}},
		{RiskHostCgroupfs, []string{"/sys/fs/cgroup"}},
		{RiskHostBPFFS, []string{"/sys/fs/bpf", p.BPF}},
		{RiskHostTracefs, []string{"/sys/kernel/tracing", "/sys/kernel/debug"}},
		{RiskRuntimeSocket, engineSockets[:]},
		{RiskShimwardState, []string{p.Run, p.Log}},
	}
	for _, place := range places {
		for _, at := range place.paths {
			if within(source, canonical(at)) || within(canonical(at), source) {
				add(place.risk, "mounts has %s at %s", quote(mount.Source), quote(mount.Destination))
			}
		}
	}
}

// canonical returns a cleaned path. /var/run is /run on every node that Kubernetes runs on.
func canonical(file string) string {
	file = filepath.Clean("/" + file)
	if rest, ok := strings.CutPrefix(file, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		return path.Join("/run", rest)
	}
	return file
}

// CheckRisks returns an error, worded for the pod's author, if the plan enforces and its profile
// refuses one of the risks found.
func (p *Plan) CheckRisks(found []Finding) error {
	if p.Mode != ModeEnforce {
		return nil
	}
	for _, finding := range found {
		if p.RefusesRisk(finding.Risk) {
			return fmt.Errorf("the container has the risk %s (%s), which the profile %s refuses: remove that from its spec, or ask for another profile with the annotation %s%s",
				finding.Risk, finding.Where, quote(p.Profile), AnnotationPrefix, KeyProfile)
		}
	}
	return nil
}

// RefusesRisk reports whether the profile names a risk in refuse_risks.
func (p *Plan) RefusesRisk(risk Risk) bool { return slices.Contains(p.RefuseRisks, risk) }

func checkRisks(risks []Risk) error {
	known := KnownRisks()
	for _, risk := range risks {
		if !slices.Contains(known, risk) {
			words := make([]string, len(known))
			for i, one := range known {
				words[i] = string(one)
			}
			return fmt.Errorf("%s: there is no such risk, write any of %s", quote(string(risk)), strings.Join(words, ", "))
		}
	}
	return nil
}

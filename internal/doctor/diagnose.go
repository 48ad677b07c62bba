package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

// Diagnose judges a node by its facts.
func Diagnose(f *Facts) *Report {
	r := &Report{}
	if f.Kernel.Tier != 0 {
		r.Tier = &f.Kernel.Tier
	}
	if f.UID != 0 {
		r.add("user", StateFail, fmt.Sprintf("uid %d: the kernel accepts shimward's programs only from root", f.UID), "run it as root")
	}
	r.config(f)
	r.kernel(f)
	r.mounts(f)
	r.programs(f)
	r.promise(f)
	return r.conclude()
}

func (r *Report) config(f *Facts) {
	switch {
	case f.ConfigErr != nil:
		r.add("config", StateFail, f.ConfigErr.Error(), "fix it: until then no container can be created under shimward")
	case f.ConfigFrom == "":
		r.add("config", StateOK, "no file, the built-in config: "+summary(f.Config), "")
	default:
		r.add("config", StateOK, f.ConfigFrom+": "+summary(f.Config), "")
	}
}

func summary(config *policy.Config) string {
	floors := ""
	if len(config.Floors) > 0 {
		floors = fmt.Sprintf(", floors %d", len(config.Floors))
	}
	return fmt.Sprintf("mode %s, profile %s, without_lsm %s%s", config.DefaultMode, config.DefaultProfile, config.WithoutLSM, floors)
}

const tracepointTier = "tracepoint: system calls that a policy refuses fail with an errno;\n" +
	"if it refuses an access through /proc/<pid>/mem, the process is killed before a byte moves"

func (r *Report) kernel(f *Facts) {
	k := &f.Kernel
	r.add("kernel", StateOK, k.Release+" on "+f.Architecture, "")
	r.check("btf", "the kernel has BTF type information", k.BTF, "use a kernel with CONFIG_DEBUG_INFO_BTF=y: shimward's programs need it to find the kernel's structures")
	r.check("tracing", "tracepoint programs load, with everything that shimward's need", k.Tracing,
		"use Linux 6.1 or later, with CONFIG_BPF_SYSCALL=y; inside a container or under a lockdown, run shimward on the host itself")
	lsms := k.LSMs
	if lsms == "" {
		lsms = "unknown (no securityfs)"
	}
	if k.LSM == nil {
		r.add("lsm", StateOK, "LSM programs load and attach; active LSMs: "+lsms, "")
	} else {
		r.add("lsm", StateWarn, fmt.Sprintf("no LSM programs: %s; active LSMs: %s", k.LSM, lsms), lsmAdvice(k, f.Architecture))
	}
	switch {
	case k.Programs != nil:
		r.add("programs", StateFail, "shimward's own programs do not work: "+k.Programs.Error(),
			"see the lines above; if they are all ok, report this kernel")
	case k.Loaded:
		r.add("programs", StateOK, "shimward's own programs are loaded and attached", "")
	case k.Tier != 0:
		r.add("programs", StateOK, "shimward's own programs load, attach and see accesses", "")
	}
	switch {
	case switchedOff(k):
		r.add("tier", StateFail, "lsm, but its programs are not called: no guarded container can be created here, and running ones are guarded by seccomp and the access sensor only",
			"see the line \"lsm\"")
	case k.Tier == access.TierLSM:
		r.add("tier", StateOK, "lsm: accesses that a policy refuses fail with an errno", "")
	case k.Tier == access.TierTracepoint && k.LSM == nil:
		r.add("tier", StateWarn, tracepointTier+"\nthis kernel accepts LSM programs, but not shimward's", "report this kernel")
	case k.Tier == access.TierTracepoint:
		r.add("tier", StateOK, tracepointTier, "")
	default:
		r.add("tier", StateFail, "none: shimward cannot watch anything on this kernel", "see the lines above")
	}
	r.check("notify", "seccomp user notification is available", f.NotifyErr, "use a kernel with CONFIG_SECCOMP_FILTER=y, 5.0 or later")
}

// switchedOff reports whether the node's LSM programs were loaded and called before, but are not
// called now.
func switchedOff(k *Kernel) bool {
	return k.Tier == access.TierLSM && errors.Is(k.LSM, bpf.ErrFtraceOff)
}

func lsmAdvice(k *Kernel, architecture string) string {
	if errors.Is(k.LSM, bpf.ErrFtraceOff) {
		return "set it to 1 (sysctl kernel.ftrace_enabled=1), and find out who changed it"
	}
	active := k.LSMs
	for name := range strings.SplitSeq(active, ",") {
		if name == "bpf" {
			missing := "CONFIG_FUNCTION_TRACER, CONFIG_DYNAMIC_FTRACE"
			if architecture == "arm64" {
				missing = "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, which arm64 has from Linux 6.4 on"
			}
			return "bpf is among the active LSMs, so what the kernel lacks is function tracing (" + missing + "); to refuse with an errno, use a kernel that has it"
		}
	}
	if active == "" {
		return "to refuse with an errno, use a kernel with CONFIG_BPF_LSM=y and boot it with bpf among its lsm= (Debian's, Ubuntu's and Fedora's have both)"
	}
	return "to refuse with an errno, use a kernel with CONFIG_BPF_LSM=y and boot it with lsm=" + active + ",bpf"
}

func (r *Report) mounts(f *Facts) {
	switch {
	case f.Cgroup.Mount == "":
		r.add("cgroup", StateFail, "no cgroup v2 hierarchy is mounted: shimward needs it to tell containers apart",
			"mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified), or boot with systemd.unified_cgroup_hierarchy=1")
	case f.Cgroup.Hybrid:
		r.add("cgroup", StateOK, "hybrid: v2 is at "+f.Cgroup.Mount, "")
	default:
		r.add("cgroup", StateOK, "v2 at "+f.Cgroup.Mount, "")
	}
	if f.Config != nil {
		r.check("bpffs", f.Config.Paths.BPF+" is on a bpffs", f.PinsErr, "mount it: mount -t bpf bpf /sys/fs/bpf")
	}
}

// promise compares what the config promises with the tier.
func (r *Report) promise(f *Facts) {
	if f.Config == nil {
		return
	}
	asked := enforcing(f.Config)
	switch {
	case f.Kernel.Tier == 0:
		r.add("promise", StateFail, "no guarded container can be created here", "see the lines above")
	case switchedOff(&f.Kernel):
		r.add("promise", StateFail, "no guarded container can be created here", "see the line \"lsm\"")
	case r.failed():
		r.add("promise", StateFail, "nothing is promised while a check above fails", "fix what fails above")
	case f.Kernel.Tier == access.TierLSM:
		r.add("promise", StateOK, "audit and enforce hold as documented", "")
	case f.Config.WithoutLSM == policy.WithoutLSMKill:
		r.add("promise", StateOK, "audit and enforce hold for what this tier sees (docs/coverage.md); enforce kills where it cannot refuse (without_lsm = \"kill\")", "")
	case f.Config.WithoutLSM == policy.WithoutLSMRefuse && asked != "":
		r.add("promise", StateFail, asked+" asks for enforce, and without_lsm = \"refuse\": such containers are not created here",
			"use a kernel with BPF LSM, or write without_lsm = \"kill\", or ask for audit")
	case f.Config.WithoutLSM == policy.WithoutLSMRefuse:
		r.add("promise", StateWarn, "audit holds; a container whose annotations ask for enforce is not created (without_lsm = \"refuse\")",
			"keep such pods off this node, or write without_lsm = \"kill\"")
	case asked != "":
		r.add("promise", StateFail, asked+" asks for enforce, and without_lsm = \"audit\": nothing is refused here, everything is recorded",
			"use a kernel with BPF LSM, or write without_lsm = \"kill\", or ask for audit")
	default:
		r.add("promise", StateWarn, "audit holds; enforce is treated as audit (without_lsm = \"audit\")",
			"to have it enforced, use a kernel with BPF LSM, or write without_lsm = \"kill\"")
	}
}

// enforcing names the part of the config that asks for enforce by default. It returns "" if none
// does.
func enforcing(config *policy.Config) string {
	if config.DefaultMode == policy.ModeEnforce {
		return "default_mode"
	}
	for i := range config.Floors {
		if config.Floors[i].Mode == policy.ModeEnforce {
			return "the floor of " + strings.Join(config.Floors[i].Namespaces, ", ")
		}
	}
	return ""
}

func (r *Report) programs(f *Facts) {
	r.found("shim", f.Shim, StateFail, "install containerd-shim-shimward-v1 into a folder on containerd's PATH")
	if f.Unserved {
		last := &r.Findings[len(r.Findings)-1]
		last.State, last.Text = StateFail, last.Text+", where containerd does not look"
		last.Advice = "run `shimward install`, or put that folder into containerd's PATH"
	}
	if f.Shim.Path != "" {
		r.found("hook", f.Hook, StateFail, "install shimward-hook into the folder that containerd-shim-shimward-v1 is in: the runtime starts it")
	}
	r.found("containerd", f.Containerd, StateWarn, "put it on PATH, so that doctor can check its version")
	if older(f.Containerd.Version, 1, 6) {
		last := &r.Findings[len(r.Findings)-1]
		last.State, last.Advice = StateFail, "use containerd 1.7 or later: shimward has not been tried with versions before 1.6"
	} else if older(f.Containerd.Version, 1, 7) {
		last := &r.Findings[len(r.Findings)-1]
		last.State, last.Advice = StateWarn, "use containerd 1.7 or later: 1.6 was tried by hand, but no test covers it"
	}
	r.runtime("runc", f.Runc, StateWarn, "put it on PATH, so that doctor can check its version")
	switch {
	case f.BelowErr != nil:
		r.add("runc.path", StateFail, f.BelowErr.Error(), "write the real runc's path as runc.path in shimward's config: it is what shimward runc starts")
	case f.Below.Path != "":
		r.runtime("runc.path", f.Below, StateWarn, "shimward runc starts it, and is tested only with runc")
	}
}

// runtime adds a finding about a runc and what it supports.
func (r *Report) runtime(name string, runc Program, missing State, advice string) {
	r.found(name, runc, missing, advice)
	switch last := &r.Findings[len(r.Findings)-1]; {
	case runc.Path == "" || runc.Err != nil:
	case runc.Seccomp == "":
		last.State, last.Text = StateFail, last.Text+", built without seccomp"
		last.Advice = "use a runc that was built with seccomp: shimward's listener gets system calls through it"
	case older(runc.Version, 1, 1):
		last.State, last.Advice = StateFail, "use runc 1.1 or later: older ones have no seccomp notification"
	case older(runc.Seccomp, 2, 5):
		last.State, last.Text = StateFail, last.Text+", with libseccomp "+runc.Seccomp
		last.Advice = "use a runc with libseccomp 2.5 or later: older ones have no seccomp notification"
	}
}

func (r *Report) found(name string, p Program, missing State, advice string) {
	switch {
	case p.Path == "":
		r.add(name, missing, "not found", advice)
	case p.Err != nil:
		r.add(name, missing, fmt.Sprintf("%s: %s", p.Path, p.Err), advice)
	case p.Version == "":
		r.add(name, StateOK, p.Path, "")
	default:
		r.add(name, StateOK, p.Version+" ("+p.Path+")", "")
	}
}

// older reports whether a version is before major.minor. It is false for a version that cannot be
// parsed.
func older(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	second, _, _ := strings.Cut(rest, ".")
	second, _, _ = strings.Cut(second, "-")
	gotMajor, err := strconv.Atoi(first)
	if err != nil {
		return false
	}
	gotMinor, err := strconv.Atoi(second)
	if err != nil {
		return false
	}
	return gotMajor < major || gotMajor == major && gotMinor < minor
}

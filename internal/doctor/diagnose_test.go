package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

// healthy returns the facts of a node that lacks nothing.
func healthy() *Facts {
	return &Facts{
		Architecture: "amd64",
		Config:       policy.DefaultConfig(),
		Kernel:       Kernel{Release: "6.1.0", LSMs: "lockdown,yama,bpf", Tier: access.TierLSM},
		Cgroup:       Cgroup{Mount: "/sys/fs/cgroup"},
		Containerd:   Program{Path: "/usr/bin/containerd", Version: "v2.4.2"},
		Runc:         Program{Path: "/usr/bin/runc", Version: "1.5.2", Seccomp: "2.5.4"},
		Shim:         Program{Path: "/usr/bin/containerd-shim-shimward-v1"},
		Hook:         Program{Path: "/usr/bin/shimward-hook"},
	}
}

func find1(t *testing.T, r *Report, name string) Finding {
	t.Helper()
	for _, finding := range r.Findings {
		if finding.Name == name {
			return finding
		}
	}
	t.Fatalf("no finding %q in %+v", name, r.Findings)
	return Finding{}
}

func TestDiagnose(t *testing.T) {
	broken := errors.New("broken")
	tracepoint := func(f *Facts) {
		f.Kernel.Tier, f.Kernel.LSM, f.Kernel.LSMs = access.TierTracepoint, broken, "landlock,yama"
	}
	for _, test := range []struct {
		name    string
		change  func(*Facts)
		finding string
		state   State
		advice  string // a substring of the expected advice
		lost    bool   // whether the promise is lost
	}{
		{name: "healthy", change: func(*Facts) {}, finding: "promise", state: StateOK},
		{name: "not root", change: func(f *Facts) { f.UID = 1000 }, finding: "user", state: StateFail, advice: "root", lost: true},
		{
			name: "bad config", change: func(f *Facts) { f.Config, f.ConfigErr = nil, broken },
			finding: "config", state: StateFail, advice: "fix it", lost: true,
		},
		{name: "no BTF", change: func(f *Facts) { f.Kernel.BTF = broken }, finding: "btf", state: StateFail, advice: "CONFIG_DEBUG_INFO_BTF", lost: true},
		{
			name: "no programs", change: func(f *Facts) { f.Kernel.Tier, f.Kernel.Tracing, f.Kernel.LSM = 0, broken, broken },
			finding: "promise", state: StateFail, lost: true,
		},
		{
			name: "programs do not come up", change: func(f *Facts) { f.Kernel.Tier, f.Kernel.Programs = 0, broken },
			finding: "programs", state: StateFail, advice: "report", lost: true,
		},
		{
			name: "only shimward's LSM programs do not come up", change: func(f *Facts) { f.Kernel.Tier = access.TierTracepoint },
			finding: "tier", state: StateWarn, advice: "report",
		},
		{
			name: "LSM programs switched off", change: func(f *Facts) { f.Kernel.LSM = bpf.ErrFtraceOff },
			finding: "tier", state: StateFail, advice: "the line \"lsm\"", lost: true,
		},
		{
			name: "nothing is promised without them", change: func(f *Facts) { f.Kernel.LSM = bpf.ErrFtraceOff },
			finding: "promise", state: StateFail, advice: "the line \"lsm\"", lost: true,
		},
		{
			name: "how to switch them on", change: func(f *Facts) { f.Kernel.LSM = bpf.ErrFtraceOff },
			finding: "lsm", state: StateWarn, advice: "sysctl kernel.ftrace_enabled=1", lost: true,
		},
		{name: "loaded", change: func(f *Facts) { f.Kernel.Loaded = true }, finding: "programs", state: StateOK},
		{name: "tracepoint, kill", change: tracepoint, finding: "promise", state: StateOK},
		{name: "tracepoint names what to boot with", change: tracepoint, finding: "lsm", state: StateWarn, advice: "lsm=landlock,yama,bpf"},
		{
			name: "LSM programs not loading though active", change: func(f *Facts) {
				tracepoint(f)
				f.Kernel.LSMs = "yama,bpf"
			}, finding: "lsm", state: StateWarn, advice: "CONFIG_FUNCTION_TRACER",
		},
		{
			name: "the same on arm64", change: func(f *Facts) {
				tracepoint(f)
				f.Architecture, f.Kernel.LSMs = "arm64", "yama,bpf"
			}, finding: "lsm", state: StateWarn, advice: "arm64 has from Linux 6.4 on",
		},
		{
			name: "tracepoint, refuse, nobody asks", change: func(f *Facts) {
				tracepoint(f)
				f.Config.WithoutLSM = policy.WithoutLSMRefuse
			}, finding: "promise", state: StateWarn, advice: "kill",
		},
		{
			name: "tracepoint, refuse, the default asks", change: func(f *Facts) {
				tracepoint(f)
				f.Config.WithoutLSM, f.Config.DefaultMode = policy.WithoutLSMRefuse, policy.ModeEnforce
			}, finding: "promise", state: StateFail, advice: "kill", lost: true,
		},
		{
			name: "tracepoint, audit, a floor asks", change: func(f *Facts) {
				tracepoint(f)
				f.Config.WithoutLSM = policy.WithoutLSMAudit
				f.Config.Floors = []policy.Floor{{Namespaces: []string{"bank"}, Mode: policy.ModeEnforce}}
			}, finding: "promise", state: StateFail, advice: "kill", lost: true,
		},
		{
			name: "tracepoint, audit, nobody asks", change: func(f *Facts) {
				tracepoint(f)
				f.Config.WithoutLSM = policy.WithoutLSMAudit
			}, finding: "promise", state: StateWarn,
		},
		{name: "no cgroup v2", change: func(f *Facts) { f.Cgroup = Cgroup{} }, finding: "cgroup", state: StateFail, advice: "mount -t cgroup2", lost: true},
		{
			name: "nothing is promised without a bpffs", change: func(f *Facts) { f.PinsErr = broken },
			finding: "promise", state: StateFail, advice: "fix what fails above", lost: true,
		},
		{name: "hybrid", change: func(f *Facts) { f.Cgroup.Hybrid = true }, finding: "cgroup", state: StateOK},
		{name: "no bpffs", change: func(f *Facts) { f.PinsErr = broken }, finding: "bpffs", state: StateFail, advice: "mount -t bpf", lost: true},
		{name: "no notification", change: func(f *Facts) { f.NotifyErr = broken }, finding: "notify", state: StateFail, advice: "CONFIG_SECCOMP", lost: true},
		{name: "no shim", change: func(f *Facts) { f.Shim, f.Hook = Program{}, Program{} }, finding: "shim", state: StateFail, advice: "PATH", lost: true},
		{name: "a shim that is not installed", change: func(f *Facts) { f.Unserved = true }, finding: "shim", state: StateFail, advice: "shimward install", lost: true},
		{name: "no hook", change: func(f *Facts) { f.Hook = Program{} }, finding: "hook", state: StateFail, advice: "install", lost: true},
		{name: "no containerd", change: func(f *Facts) { f.Containerd = Program{} }, finding: "containerd", state: StateWarn, advice: "PATH"},
		{
			name: "old containerd", change: func(f *Facts) { f.Containerd.Version = "1.5.18" },
			finding: "containerd", state: StateFail, advice: "1.7", lost: true,
		},
		{name: "containerd that no test has", change: func(f *Facts) { f.Containerd.Version = "1.6.20" }, finding: "containerd", state: StateWarn, advice: "1.7"},
		{name: "no runc", change: func(f *Facts) { f.Runc = Program{} }, finding: "runc", state: StateWarn, advice: "PATH"},
		{name: "mute runc", change: func(f *Facts) { f.Runc.Err = broken }, finding: "runc", state: StateWarn},
		{name: "old runc", change: func(f *Facts) { f.Runc.Version = "1.0.3" }, finding: "runc", state: StateFail, advice: "1.1", lost: true},
		{name: "runc without seccomp", change: func(f *Facts) { f.Runc.Seccomp = "" }, finding: "runc", state: StateFail, advice: "seccomp", lost: true},
		{name: "no runtime below", change: func(f *Facts) { f.BelowErr = broken }, finding: "runc.path", state: StateFail, advice: "real runc", lost: true},
		{name: "another runtime below", change: func(f *Facts) { f.Below = Program{Path: "/usr/bin/crun", Err: broken} }, finding: "runc.path", state: StateWarn, advice: "only with runc"},
		{name: "old runtime below", change: func(f *Facts) { f.Below = Program{Path: "/r", Version: "1.0.3", Seccomp: "2.5.4"} }, finding: "runc.path", state: StateFail, advice: "1.1", lost: true},
		{name: "old libseccomp", change: func(f *Facts) { f.Runc.Seccomp = "2.4.4" }, finding: "runc", state: StateFail, advice: "2.5", lost: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts := healthy()
			test.change(facts)
			report := Diagnose(facts)
			finding := find1(t, report, test.finding)
			if finding.State != test.state || !strings.Contains(finding.Advice, test.advice) {
				t.Errorf("got %+v, want %s and advice with %q", finding, test.state, test.advice)
			}
			if report.Kept == test.lost {
				t.Errorf("kept is %t: %+v", report.Kept, report.Findings)
			}
			for _, finding := range report.Findings {
				if finding.State == StateFail && finding.Advice == "" {
					t.Errorf("%+v does not say what to do", finding)
				}
			}
		})
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"v2.4.2": false, "2.3": false, "2.3.0-beta.1": false, "2.2.9": true, "1.7.24~ds1": true, "v1.6.20": true, "3.0": false,
		"2.3-dev": false, "unknown": false, "": false, "2": false,
	} {
		if got := older(version, 2, 3); got != want {
			t.Errorf("older(%q, 2.3) is %t", version, got)
		}
	}
}

func TestRender(t *testing.T) {
	facts := healthy()
	facts.PinsErr = errors.New("no bpffs at /x")
	report := Diagnose(facts)
	var text, object bytes.Buffer
	if err := errors.Join(report.WriteText(&text), report.WriteJSON(&object)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fail  bpffs       no bpffs at /x\n", "-> mount it: mount -t bpf", "cannot keep"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
	var back Report
	if err := json.Unmarshal(object.Bytes(), &back); err != nil || *back.Tier != access.TierLSM || back.Kept {
		t.Errorf("JSON came back as %+v, %v", back, err)
	}
}

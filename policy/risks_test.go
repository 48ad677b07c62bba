package policy

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// plain returns a spec without risks.
func plain() *Spec {
	return &Spec{
		Process: &SpecProcess{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/data", Type: "bind", Source: "/srv/procfs"}},
		Linux: &SpecLinux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace, Path: "/proc/1/ns/mnt"}},
			Seccomp:    &specs.LinuxSeccomp{},
			Resources:  &SpecResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}},
		},
	}
}

func TestRisks(t *testing.T) {
	bind := func(source string) func(*Spec) {
		return func(s *Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: source, Options: []string{"rbind"}})
		}
	}
	capability := func(name string) func(*Spec) {
		return func(s *Spec) { s.Process.Capabilities.Ambient = []string{name} }
	}
	for name, test := range map[string]struct {
		change func(*Spec)
		want   []Risk
	}{
		"none":            {func(*Spec) {}, nil},
		"no process":      {func(s *Spec) { s.Process = nil }, nil},
		"no capabilities": {func(s *Spec) { s.Process.Capabilities = nil }, nil},
		"no linux":        {func(s *Spec) { s.Linux = nil }, []Risk{RiskHostPID, RiskSeccompUnconfined}},
		"nothing":         {func(s *Spec) { *s = Spec{} }, []Risk{RiskHostPID, RiskSeccompUnconfined}},
		"host pid":        {func(s *Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] }, []Risk{RiskHostPID}},
		"shared pid":      {func(s *Spec) { s.Linux.Namespaces[0].Path = "/proc/7/ns/pid" }, []Risk{RiskSharedPID}},
		"host pid by path": {func(s *Spec) {
			s.Linux.Namespaces[0].Path, s.NodePID = "/proc/7/ns/pid", []string{"/proc/7/ns/pid"}
		}, []Risk{RiskHostPID}},
		"unconfined": {func(s *Spec) { s.Linux.Seccomp = nil }, []Risk{RiskSeccompUnconfined}},
		"ptrace":     {capability("CAP_SYS_PTRACE"), []Risk{"cap_sys_ptrace"}},
		"restore":    {capability("CAP_CHECKPOINT_RESTORE"), []Risk{"cap_checkpoint_restore"}},
		"devices alone": {func(s *Spec) {
			s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"})
		}, nil},
		"privileged": {func(s *Spec) {
			s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"})
			s.Process.Capabilities.Bounding = []string{"CAP_SYS_ADMIN"}
		}, []Risk{"cap_sys_admin", RiskPrivileged}},
		"/dev/port": {func(s *Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/null2", Type: "c", Major: 1, Minor: 4}}
		}, []Risk{RiskMemoryDevice}},
		"/dev/snapshot": {func(s *Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/snapshot", Type: "c", Major: 10, Minor: 231}}
		}, []Risk{RiskMemoryDevice}},
		"/dev/null": {func(s *Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mem", Type: "c", Major: 1, Minor: 3}}
		}, nil},
		"host root":         {bind("/"), []Risk{RiskHostRoot, RiskHostProcfs, RiskHostCgroupfs, RiskHostBPFFS, RiskHostTracefs, RiskRuntimeSocket, RiskShimwardState}},
		"procfs":            {bind("/srv/..//proc/"), []Risk{RiskHostProcfs}},
		"of procfs":         {bind("/proc/1"), []Risk{RiskHostProcfs}},
		"sys":               {bind("/sys"), []Risk{RiskHostBPFFS, RiskHostCgroupfs, RiskHostTracefs}},
		"cgroups":           {bind("/sys/fs/cgroup/kubepods"), []Risk{RiskHostCgroupfs}},
		"bpffs":             {bind("/sys/fs/bpf"), []Risk{RiskHostBPFFS}},
		"bpffs of a kind":   {func(s *Spec) { s.Mounts = append(s.Mounts, specs.Mount{Type: "bpf", Destination: "/bpf"}) }, []Risk{RiskHostBPFFS}},
		"tracefs":           {bind("/sys/kernel/debug/tracing"), []Risk{RiskHostTracefs}},
		"debugfs of a kind": {func(s *Spec) { s.Mounts = append(s.Mounts, specs.Mount{Type: "debugfs", Destination: "/d"}) }, []Risk{RiskHostTracefs}},
		"docker":            {bind("/var/run/docker.sock"), []Risk{RiskRuntimeSocket}},
		"run":               {bind("/var/run"), []Risk{RiskRuntimeSocket, RiskShimwardState}},
		"containerd":        {bind("/run/containerd"), []Risk{RiskRuntimeSocket}},
		"events":            {bind("/var/log"), []Risk{RiskShimwardState}},
		"no mount":          {bind(""), []Risk{RiskHostRoot, RiskHostProcfs, RiskHostCgroupfs, RiskHostBPFFS, RiskHostTracefs, RiskRuntimeSocket, RiskShimwardState}},
		"beside":            {bind("/proc2"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			spec := plain()
			test.change(spec)
			var got []Risk
			for _, finding := range DefaultConfig().Paths.Risks(spec) {
				got = append(got, finding.Risk)
				if !slices.Contains(KnownRisks(), finding.Risk) || finding.Where == "" {
					t.Errorf("%+v is not known, or not from anywhere", finding)
				}
			}
			slices.Sort(test.want)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestRefuseRisks(t *testing.T) {
	parse := func(text string) (*Config, error) {
		return ParseConfig([]byte("version = 1\n" + text))
	}
	if _, err := parse("[profiles.p]\nextends = \"strict\"\nrefuse_risks = [\"hostpid\"]"); err == nil || !strings.Contains(err.Error(), "host_pid") {
		t.Errorf("an unknown risk: %v", err)
	}
	config, err := parse(`
[profiles.closed]
extends = "strict"
refuse_risks = ["host_pid"]
[profiles.more]
extends = "closed"
refuse_risks = ["cap_bpf"]
[[floor]]
namespaces = ["vault"]
mode = "enforce"
profile = "closed"
`)
	if err != nil {
		t.Fatal(err)
	}
	plan := func(namespace, profile, mode string) (*Plan, error) {
		return config.Plan(Facts{ID: "c", Namespace: namespace, Bundle: "/b", Annotations: map[string]string{
			AnnotationPrefix + KeyProfile: profile, AnnotationPrefix + KeyMode: mode,
		}})
	}
	if _, err := plan("vault", "strict", "enforce"); err == nil || !strings.Contains(err.Error(), "refuse_risks") {
		t.Errorf("a floor's risks can be had by another profile: %v", err)
	}
	found := []Finding{{"cap_bpf", "w"}, {RiskHostPID, "linux.namespaces has no pid namespace"}}
	for _, test := range []struct{ profile, mode, risk string }{
		{"strict", "enforce", ""}, {"closed", "audit", ""}, {"closed", "enforce", "host_pid"}, {"more", "enforce", "cap_bpf"},
	} {
		p, err := plan("shop", test.profile, test.mode)
		if err != nil {
			t.Fatal(err)
		}
		switch err := p.CheckRisks(found); {
		case test.risk == "" && err != nil:
			t.Errorf("%s, %s: %v", test.profile, test.mode, err)
		case test.risk != "" && (err == nil || !strings.Contains(err.Error(), "risk "+test.risk)):
			t.Errorf("%s, %s: %v, want one about %s", test.profile, test.mode, err, test.risk)
		}
	}
}

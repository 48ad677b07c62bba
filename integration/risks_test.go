package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// TestRisks checks that a spec which allows bypassing shimward's guard is recorded, and refused
// where a profile says so.
func TestRisks(t *testing.T) {
	n := startGuardedNode(t, node.Options{Config: `
[profiles.closed]
extends = "strict"
refuse_risks = [
	"host_pid", "host_procfs", "host_cgroupfs", "host_bpffs", "host_root", "runtime_socket", "shimward_state", "privileged",
	"cap_sys_ptrace", "cap_sys_admin", "cap_bpf", "cap_perfmon", "shared_pid",
]
`})
	mounted := func(source string) node.Spec {
		return node.Spec{DefaultSeccomp: true, Options: []oci.SpecOpts{
			oci.WithMounts([]specs.Mount{{Source: source, Destination: "/host", Type: "bind", Options: []string{"rbind", "ro"}}}),
		}}
	}
	capable := func(capability string) node.Spec {
		return node.Spec{DefaultSeccomp: true, Options: []oci.SpecOpts{oci.WithAddedCapabilities([]string{capability})}}
	}
	neighbour := mustStart(t, n, node.Spec{Runtime: node.Runc})
	for _, test := range []struct {
		name string
		spec node.Spec
		want []string // sorted, because the refusal names the first
	}{
		{"plain", node.Spec{DefaultSeccomp: true}, nil},
		{"host-pid", node.Spec{DefaultSeccomp: true, HostPID: true}, []string{"host_pid"}},
		{"shared-pid", node.Spec{DefaultSeccomp: true, PIDOf: neighbour}, []string{"shared_pid"}},
		{"procfs", mounted("/proc"), []string{"host_procfs"}},
		{"cgroupfs", mounted("/sys/fs/cgroup"), []string{"host_cgroupfs"}},
		{"bpffs", mounted("/sys/fs/bpf"), []string{"host_bpffs"}},
		{"root", mounted("/"), []string{"host_bpffs", "host_cgroupfs", "host_procfs", "host_root", "runtime_socket", "shimward_state"}},
		{"engine", mounted("/run"), []string{"runtime_socket"}},
		{"state", mounted(n.Paths.Run), []string{"shimward_state"}},
		{"ptrace", capable("CAP_SYS_PTRACE"), []string{"cap_sys_ptrace"}},
		{"admin", capable("CAP_SYS_ADMIN"), []string{"cap_sys_admin"}},
		{"bpf", capable("CAP_BPF"), []string{"cap_bpf"}},
		{"perfmon", capable("CAP_PERFMON"), []string{"cap_perfmon"}},
		{"privileged", node.Spec{Privileged: true}, []string{"cap_bpf", "cap_perfmon", "cap_sys_admin", "cap_sys_ptrace", "privileged", "seccomp_unconfined"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refusable := slices.ContainsFunc(test.want, func(risk string) bool { return risk != "seccomp_unconfined" })
			spec := test.spec
			spec.ID, spec.Runtime, spec.Args = "audit-"+test.name, node.Shimward, []string{"/bin/true"}
			spec.Annotations = map[string]string{annotationMode: "audit", annotationProfile: "closed"}
			mustRun(t, n, spec)
			all, err := n.Events(testContext(t), spec.ID)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.DeleteFunc(all, func(e event.Event) bool { return e.Kind != event.KindRisk })
			switch {
			case len(test.want) == 0 && len(found) > 0:
				t.Errorf("an event of a spec without risks:\n%s", describe(found))
			case len(test.want) > 0 && len(found) != 1:
				t.Fatalf("%d events, want 1:\n%s", len(found), describe(found))
			}
			for _, risk := range test.want {
				if !slices.ContainsFunc(found[0].Risks, func(r event.Risk) bool { return r.Name == risk && r.Where != "" }) {
					t.Errorf("no %s in:\n%s", risk, describe(found))
				}
			}
			if refusable && found[0].Severity != event.SeverityWarning {
				t.Errorf("what the profile would refuse is %s", found[0].Severity)
			}

			spec.ID, spec.Annotations = "enforce-"+test.name, map[string]string{annotationMode: "enforce", annotationProfile: "closed"}
			_, err = n.Run(testContext(t), spec)
			switch {
			case !refusable && err != nil:
				t.Error(err)
			case refusable && (err == nil || !strings.Contains(err.Error(), "has the risk "+test.want[0])):
				t.Errorf("under enforce: %v", err)
			}
		})
	}
}

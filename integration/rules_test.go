package integration

import (
	"slices"
	"testing"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// TestRules checks that a profile's own rules take precedence over its table, whichever sensor sees
// the access, and that the event names the rule that decided.
func TestRules(t *testing.T) {
	n := startGuardedNode(t, node.Options{Config: `
[profiles.ruled]
extends = "baseline"

[[profiles.ruled.rule]]
name = "nobody-writes"
action = "refuse"
operations = ["write"]

[[profiles.ruled.rule]]
name = "somebody-else"
action = "observe"
uids = [4242]

[[profiles.ruled.rule]]
name = "no-thief"
action = "refuse"
vectors = ["process_vm_readv", "pidfd_getfd"]
executables = ["/bin/shimward", "/bin/not-in-this-image"]

[[profiles.ruled.rule]]
name = "sealed"
action = "refuse"
vectors = ["kcmp"]
relations = ["same-container"]
target_executables = ["/bin/shimward"]
`})
	refusing := map[string]string{
		"proc-mem-write": "nobody-writes", "process-vm-writev": "nobody-writes", "process-vm-readv": "no-thief", "pidfd-getfd": "no-thief", "kcmp": "sealed",
	}
	vectors := []string{"proc-mem-read", "proc-mem-write", "process-vm-readv", "process-vm-writev", "pidfd-getfd", "kcmp", "ptrace-attach"}
	spec := node.Spec{
		ID: "ruled", Runtime: node.Shimward,
		Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "ruled"},
	}
	report := attack(t, n, spec, append([]string{"--spawn"}, vectors...)...)
	events := accesses(t, n, spec.ID)
	for _, r := range report.Results {
		t.Run(r.Name, func(t *testing.T) {
			rule := refusing[r.Name]
			if rule == "" {
				rule = "same_container"
				if !r.Through() {
					t.Errorf("no rule refuses it: %s", tell(r))
				}
			} else {
				wantStopped(t, r)
			}
			names := func(e event.Event) bool { return e.Access.Rule == "ruled."+rule }
			if found := by(events, r); !slices.ContainsFunc(found, names) {
				t.Errorf("no event cites the rule ruled.%s:\n%s", rule, describe(found))
			}
		})
	}
}

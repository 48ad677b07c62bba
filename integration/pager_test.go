package integration

import (
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
)

// TestPager checks that a process which fills another process's missing pages, as for checkpoints
// and snapshots, is refused the file descriptor unless it is allowed by name. Without LSM programs,
// this is not seen.
func TestPager(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	for _, allowed := range []bool{false, true} {
		name := map[bool]string{false: "refused", true: "allowed"}[allowed]
		t.Run(name, func(t *testing.T) {
			spec := node.Spec{
				ID: "pager-" + name, Runtime: node.Shimward,
				Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "strict"},
			}
			if allowed {
				spec.Annotations["shimward.dev/allow"] = "/bin/shimward"
			}
			r := attack(t, n, spec, "--spawn", "userfaultfd-received").Results[0]
			events := accesses(t, n, spec.ID)
			if tier(t) != access.TierLSM {
				if !r.Through() || len(events) > 0 {
					t.Errorf("%s, which this tier is said not to see:\n%s", tell(r), describe(events))
				}
				return
			}
			if r.Through() != allowed {
				t.Errorf("allowed %t: %s", allowed, tell(r))
			}
			rule, verdict, severity := "strict.same_container", access.VerdictRefused, "critical"
			if allowed {
				rule, verdict, severity = "strict.allow", access.VerdictObserved, "info"
			}
			if len(events) != 1 {
				t.Fatalf("%d events, want 1:\n%s", len(events), describe(events))
			}
			e, a := events[0], events[0].Access
			if a.Vector != access.VectorUserfaultfd || a.Operation != access.OperationWrite || a.Relation != access.RelationSameContainer ||
				a.Rule != rule || a.Verdict != verdict || string(e.Severity) != severity {
				t.Errorf("want %s by %s, %s:\n%s", verdict, rule, severity, describe(events))
			}
		})
	}
}

package integration

import (
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
)

// A guarded container's memory, when the one who reaches for it is not guarded:
// another container is stopped where the target's profile says so, and seen in any case.
func TestInbound(t *testing.T) {
	vectors := []string{"proc-mem-read", "proc-mem-write", "process-vm-readv", "ptrace-attach"}
	n := startGuardedNode(t, node.Options{})
	bare := startVictim(t, n, node.Spec{Runtime: node.Runc})
	for _, r := range attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: bare}, vectors...).Results {
		if !r.Through() {
			t.Errorf("%s did not get through under stock runc: %s", r.Name, tell(r))
		}
		proveInbound(t, "runc", r, nil)
	}
	for _, mode := range []string{"audit", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			victim := startVictim(t, n, node.Spec{
				ID: "inbound-" + mode, Runtime: node.Shimward,
				Annotations: map[string]string{annotationMode: mode, annotationProfile: "strict"},
			})
			attacks := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim}, vectors...)
			ctx := testContext(t)
			if err := victim.Kill(ctx); err != nil {
				t.Fatal(err)
			}
			if err := victim.DeleteTask(ctx); err != nil {
				t.Fatal(err)
			}
			events := accesses(t, n, victim.ID)
			for _, r := range attacks.Results {
				if r.Through() != (mode == "audit") {
					t.Errorf("under %s: %s", mode, tell(r))
				}
				found := by(events, r)
				if len(found) != 1 {
					t.Errorf("%d events of %s, want 1:\n%s", len(found), tell(r), describe(found))
					continue
				}
				a := found[0].Access
				if !a.Inbound || a.Vector != r.Access || a.Relation != access.RelationOtherContainer || a.Target.PID != victim.PID {
					t.Errorf("not inbound by %s at %d from another container:\n%s", r.Access, victim.PID, describe(found))
				}
				proveInbound(t, mode, r, found)
			}
		})
	}
}

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/policy"
)

// tamperEmulated makes the attempts of `shimward emulate tamper` at a victim in another container.
// The attacker goes at its own guard; under stock runc it has none, and goes at the victim's, which
// only observes.
func tamperEmulated(t *testing.T, s saboteur) {
	t.Helper()
	victim := startVictim(t, s.n, node.Spec{
		ID: "tampered-with", Runtime: node.Shimward, HostPID: true, Annotations: map[string]string{annotationMode: "audit", annotationProfile: "baseline"},
	})
	stock := s.emulate(t, victim, "runc", node.Runc, policy.Key(victim.ID, victim.Bundle()))
	for _, r := range stock.Results {
		if !r.Through() {
			t.Errorf("%s did not get through under stock runc: %s", r.Name, tell(r))
		}
		prove(t, "runc", r, nil)
	}
	for _, mode := range []string{"audit", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			id := "tampers-" + mode
			tampers := s.emulate(t, victim, mode, node.Shimward, policy.Key(id, s.n.Bundle(id)))
			events := accesses(t, s.n, id)
			for _, r := range tampers.Results {
				t.Run(r.Name, func(t *testing.T) {
					if mode == "enforce" {
						wantStopped(t, r)
					} else if !r.Through() {
						t.Errorf("audit changed what became of it: %s", tell(r))
					}
					wantEvent(t, events, r, victim, id)
					prove(t, mode, r, by(events, r))
				})
			}
			wantNothingElse(t, events, tampers)
			wantTamperedStore(t, s.n, id)
		})
	}
}

// emulate runs the attempts in a container called tampers- and the mode.
func (s saboteur) emulate(t *testing.T, victim *node.Container, mode, runtime, guard string) emulate.Report {
	t.Helper()
	spec := s.spec(map[string]string{annotationMode: mode, annotationProfile: "strict"},
		"/bin/shimward", "emulate", "--json", "--timeout=3m", fmt.Sprintf("--victim=%d", victim.PID), "--guard="+guard, "tamper")
	spec.ID, spec.Runtime = "tampers-"+mode, runtime
	if runtime == node.Runc {
		spec.Annotations = nil
	}
	return report(t, mustRun(t, s.n, spec))
}

// wantTamperedStore checks that the container's record says what was done to it.
func wantTamperedStore(t *testing.T, n *node.Node, id string) {
	t.Helper()
	all, err := n.Events(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(e event.Event) bool {
		return e.Kind == event.KindNotice && e.Severity == event.SeverityCritical && strings.Contains(e.Message, "cut its file short")
	}) {
		t.Errorf("no notice that the events were cut short:\n%s", describe(all))
	}
}

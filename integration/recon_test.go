package integration

import (
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// TestRecon checks that reading what procfs shows about a process other than its memory is not
// recorded or refused unless a profile says so.
func TestRecon(t *testing.T) {
	n := startGuardedNode(t, node.Options{Config: `
[profiles.recorded]
extends = "strict"
recon = "audit"

[profiles.closed]
extends = "strict"
recon = "refuse"
`})
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	stock := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim}, "recon")
	for _, r := range stock.Results {
		if !r.Through() && r.Outcome != emulate.OutcomeUnsupported {
			t.Errorf("%s did not get through under stock runc: %s", r.Name, tell(r))
		}
		prove(t, "runc", r, nil)
	}
	for _, test := range []struct{ profile, mode, column string }{
		{"strict", "enforce", ""},
		{"recorded", "enforce", ""},
		{"closed", "audit", "audit"},
		{"closed", "enforce", "enforce"},
	} {
		t.Run(test.profile+" "+test.mode, func(t *testing.T) {
			spec := node.Spec{
				ID: "attacker-" + test.mode + "-" + test.profile, Runtime: node.Shimward, PIDOf: victim,
				Annotations: map[string]string{annotationMode: test.mode, annotationProfile: test.profile},
			}
			report := attack(t, n, spec, "recon")
			events := accesses(t, n, spec.ID)
			if test.profile == "strict" && len(events) > 0 {
				t.Errorf("recon is off, and there are events:\n%s", describe(events))
			}
			for i, r := range report.Results {
				t.Run(r.Name, func(t *testing.T) {
					refused := test.column == "enforce" && tier(t) == access.TierLSM
					if refused {
						wantStopped(t, r)
					} else if r.Outcome != stock.Results[i].Outcome {
						t.Errorf("%s; under runc: %s", tell(r), tell(stock.Results[i]))
					}
					if test.profile != "strict" {
						wantEvent(t, events, r, victim, spec.ID)
					}
					if test.column != "" {
						prove(t, test.column, r, by(events, r))
					}
				})
			}
			wantNothingElse(t, events, report)
		})
	}
}

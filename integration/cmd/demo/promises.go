package main

import (
	"fmt"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// promises checks the rounds against what shimward promises, and returns an error for each broken
// one.
func promises(rounds []round) []error {
	var broken []error
	for _, r := range rounds {
		for i, result := range r.report.Results {
			if rounds[0].report.Results[i].Outcome == emulate.OutcomeUnsupported && result.Outcome == emulate.OutcomeUnsupported {
				continue // this kernel does not have the vector
			}
			if err := r.promise(result); err != nil {
				broken = append(broken, fmt.Errorf("%s under %s: %w", result.Name, r.title, err))
			}
		}
	}
	return broken
}

func (r round) promise(result emulate.Result) error {
	switch seen := r.seen(result); {
	case !result.Access.SeenIn(node.Tier()) && len(seen) > 0:
		return fmt.Errorf("it was seen, which this tier is said not to")
	case !result.Access.SeenIn(node.Tier()) && result.Through():
		return nil // as documented in docs/coverage.md
	case r.mode != "enforce" && !result.Through():
		return fmt.Errorf("the attempt did not work (%s %s), so this proves nothing", result.Outcome, result.Error)
	case r.mode == "enforce" && result.Through():
		return fmt.Errorf("the attempt got through")
	case r.mode == "":
		return nil
	case len(seen) != accesses(result):
		return fmt.Errorf("it is %d events and not %d", len(seen), accesses(result))
	default:
		return r.verdict(seen[len(seen)-1], result)
	}
}

// accesses returns how many accesses by its vector an attempt makes.
func accesses(result emulate.Result) int {
	if result.Follows() && result.Follow == result.Access {
		return 2
	}
	return 1
}

// verdict checks that the event matches what really happened.
func (r round) verdict(e event.Event, result emulate.Result) error {
	stopped := e.Access.Verdict == access.VerdictRefused || e.Access.Verdict == access.VerdictKilled
	if stopped != (r.mode == "enforce") {
		return fmt.Errorf("the event says %s", e.Access.Verdict)
	}
	if result.Target != 0 && e.Access.Target.PIDInside != result.Target {
		return fmt.Errorf("the event names pid %d as the target, and it was %d", e.Access.Target.PIDInside, result.Target)
	}
	return nil
}

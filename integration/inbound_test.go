package integration

import (
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// TestInbound checks accesses to a guarded container's memory by an unguarded actor. An actor in
// another container is stopped where the target's profile says so, and seen in any case.
func TestInbound(t *testing.T) {
	tryInbound(t, startGuardedNode(t, node.Options{}), "strict", inboundVectors(), nil)
}

// TestInboundRecon checks what an unguarded container can read from procfs about a guarded one: it is
// seen and stopped if the target's profile says so in recon. The node's own processes are never affected.
func TestInboundRecon(t *testing.T) {
	n := startGuardedNode(t, node.Options{Config: "[profiles.closed]\nextends = \"strict\"\nrecon = \"refuse\"\n"})
	tryInbound(t, n, "closed", []string{"recon"}, lookFromNode)
	t.Run("guarded", func(t *testing.T) {
		victim := startVictim(t, n, node.Spec{
			ID: "looked-at", Runtime: node.Shimward,
			Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "closed"},
		})
		looks := node.Spec{
			ID: "looks", Runtime: node.Shimward, PIDOf: victim,
			Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "strict"},
		}
		r := attack(t, n, looks, "recon-environ").Results[0]
		endVictim(t, victim)
		if events := accesses(t, n, looks.ID); len(events) > 0 {
			t.Errorf("its own profile leaves recon off, and there are events:\n%s", describe(events))
		}
		found := wantInbound(t, "enforce", r, by(accesses(t, n, victim.ID), r), victim)
		if len(found) > 0 && (found[0].Access.Actor.Container != looks.ID || found[0].Access.Rule != "closed.inbound") {
			t.Errorf("not told of %s by closed.inbound:\n%s", looks.ID, describe(found))
		}
	})
}

// tryInbound attacks a container guarded with the profile from one under runc. meanwhile, if given,
// does something that must make no event.
func tryInbound(t *testing.T, n *node.Node, profile string, vectors []string, meanwhile func(*testing.T, *node.Container)) {
	t.Helper()
	bare := startVictim(t, n, node.Spec{Runtime: node.Runc})
	stock := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: bare}, vectors...)
	for _, r := range stock.Results {
		if !r.Through() && r.Outcome != emulate.OutcomeUnsupported {
			t.Errorf("%s did not get through under stock runc: %s", r.Name, tell(r))
		}
		proveInbound(t, "runc", r, nil)
	}
	for _, mode := range []string{"audit", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			victim := startVictim(t, n, node.Spec{
				ID: "inbound-" + mode, Runtime: node.Shimward,
				Annotations: map[string]string{annotationMode: mode, annotationProfile: profile},
			})
			attacks := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim}, vectors...)
			if meanwhile != nil {
				meanwhile(t, victim)
			}
			endVictim(t, victim)
			events := accesses(t, n, victim.ID)
			for i, r := range attacks.Results {
				t.Run(r.Name, func(t *testing.T) {
					wantThere(t, r, stock.Results[i])
					proveInbound(t, mode, r, wantInbound(t, mode, r, by(events, r), victim))
				})
			}
			wantNothingElse(t, events, attacks)
		})
	}
}

// wantInbound checks the outcome of an attack from outside on the victim, and returns its events.
func wantInbound(t *testing.T, mode string, r emulate.Result, found []event.Event, victim *node.Container) []event.Event {
	t.Helper()
	vector := seenBy(r, tier(t))
	seen := vector != access.VectorUnknown && r.Outcome != emulate.OutcomeUnsupported
	if vector == r.Access {
		found = opening(t, found, r)
	}
	if r.Through() != (mode == "audit" || !stoppedInbound(r, tier(t))) && r.Outcome != emulate.OutcomeUnsupported {
		t.Errorf("under %s: %s", mode, tell(r))
	}
	switch {
	case !seen && len(found) > 0:
		t.Errorf("%s was seen, which is said not to be:\n%s", tell(r), describe(found))
	case seen && len(found) != 1:
		t.Errorf("%d events of %s, want 1:\n%s", len(found), tell(r), describe(found))
	case seen:
		a := found[0].Access
		if !a.Inbound || a.Vector != vector || a.Relation != access.RelationOtherContainer ||
			a.Target.PIDInside != r.Target || a.Target.Container != victim.ID {
			t.Errorf("not inbound by %s at %d of %s from another container:\n%s", vector, r.Target, victim.ID, describe(found))
		}
	}
	return found
}

// inboundVectors returns the vectors whose target can be in another container.
func inboundVectors() []string {
	var names []string
	for _, v := range emulate.Vectors() {
		switch {
		case v.Group() != emulate.GroupAll, v.Access.OfNode(), v.Access == access.VectorSelfMem:
		case v.Name == "ptrace-traceme", v.Name == "ptrace-fork", v.Name == "ptrace-userns", v.Name == "perf-event-all", v.Name == "mem-inherited", v.Name == "mem-scm-rights":
		default:
			names = append(names, v.Name)
		}
	}
	return names
}

// seenInbound reports whether the target's guard sees a vector. Seccomp applies only to the actor,
// so without LSM programs there is only the target's mmap lock. The vectors listed below take it,
// those that obtain a handle to the process do not.
func seenInbound(vector access.Vector, tier access.Tier) bool {
	switch vector {
	case access.VectorProcMem, access.VectorProcessVMReadv, access.VectorProcessVMWritev, access.VectorPtrace,
		access.VectorProcessMadvise, access.VectorMovePages:
		return true
	case access.VectorProcessMrelease:
		return false // the kernel checks no permission, and has no effect on a process that is not being killed
	default:
		return tier == access.TierLSM
	}
}

// seenBy returns the vector by which an attack from outside is first seen: its own, or what it goes
// on to with what it got unseen. It is VectorUnknown if neither is seen.
func seenBy(r emulate.Result, tier access.Tier) access.Vector {
	for _, vector := range []access.Vector{r.Access, r.Follow} {
		if vector != access.VectorUnknown && seenInbound(vector, tier) {
			return vector
		}
	}
	return access.VectorUnknown
}

// stoppedInbound reports whether enforce mode stops an attack that is seen. SIGKILL does not prevent
// move_pages from returning its result, nor io_uring from working on for a process that ends.
func stoppedInbound(r emulate.Result, tier access.Tier) bool {
	late := r.Access == access.VectorMovePages || r.Name == "mem-io-uring-ended"
	return seenBy(r, tier) != access.VectorUnknown && (tier == access.TierLSM || !late)
}

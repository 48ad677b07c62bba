package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// TestVectors tries every vector against a victim in another container whose pid namespace the
// attacker shares. Under stock runc each must get through, or else the rest proves nothing.
func TestVectors(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})

	stock := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim}, "all")
	for _, r := range stock.Results {
		if !r.Through() && r.Outcome != emulate.OutcomeUnsupported {
			t.Errorf("%s did not get through under stock runc: %s", r.Name, tell(r))
		}
		prove(t, "runc", r, nil)
	}

	for _, profile := range []string{"baseline", "strict"} {
		tryVectors(t, n, victim, stock, profile, node.Spec{Runtime: node.Shimward}, profile == "strict")
	}
}

// tryVectors tries every vector against the victim, from a container in audit mode and from one in
// enforce mode, both created as spec says. stock has the outcomes under stock runc.
func tryVectors(t *testing.T, n *node.Node, victim *node.Container, stock emulate.Report, profile string, spec node.Spec, proving bool) {
	t.Helper()
	spec.PIDOf = victim
	as := func(mode string) node.Spec {
		spec.ID = "attacker-" + mode + "-" + profile
		spec.Annotations = map[string]string{annotationMode: mode, annotationProfile: profile}
		return spec
	}
	t.Run("audit "+profile, func(t *testing.T) {
		spec := as("audit")
		audit := attack(t, n, spec, "all")
		events := accesses(t, n, spec.ID)
		for i, r := range audit.Results {
			t.Run(r.Name, func(t *testing.T) {
				if r.Outcome != stock.Results[i].Outcome {
					t.Errorf("audit changed what became of it: %s; under runc: %s", tell(r), tell(stock.Results[i]))
				}
				wantEvent(t, events, r, victim, spec.ID)
				if proving {
					prove(t, "audit", r, by(events, r))
				}
			})
		}
		wantNothingElse(t, events, audit)
	})
	t.Run("enforce "+profile, func(t *testing.T) {
		spec := as("enforce")
		enforce := attack(t, n, spec, "all")
		events := accesses(t, n, spec.ID)
		for i, r := range enforce.Results {
			t.Run(r.Name, func(t *testing.T) {
				wantThere(t, r, stock.Results[i])
				if profile == "baseline" && own(r) {
					if !r.Through() {
						t.Errorf("baseline only watches one's own memory and children, but: %s", tell(r))
					}
					return
				}
				if r.Access.SeenIn(tier(t)) {
					wantStopped(t, r)
				}
				wantEvent(t, events, r, victim, spec.ID)
				if proving {
					prove(t, "enforce", r, by(events, r))
				}
			})
		}
		wantNothingElse(t, events, enforce)
	})
}

// wantThere checks that a system call which the kernel has did not fail with ENOSYS: a seccomp
// listener that died causes that, which stops the call but is not what shimward promises.
func wantThere(t *testing.T, r, stock emulate.Result) {
	t.Helper()
	if r.Outcome == emulate.OutcomeUnsupported && stock.Outcome != emulate.OutcomeUnsupported {
		t.Fatalf("nobody answers the call: %s; under runc: %s", tell(r), tell(stock))
	}
}

// wantStopped checks what enforce mode promises in this kernel's tier.
func wantStopped(t *testing.T, r emulate.Result) {
	t.Helper()
	if r.Through() || r.Got || r.Changed {
		t.Fatalf("got through: %s", tell(r))
	}
	switch r.Outcome {
	case emulate.OutcomeRefused, emulate.OutcomeUnsupported:
	case emulate.OutcomeKilled:
		if tier(t) == access.TierLSM && r.Name != "mem-inherited" {
			t.Errorf("killed, where LSM programs can refuse: %s", tell(r))
		}
	default:
		t.Errorf("neither refused nor killed: %s", tell(r))
	}
}

// wantEvent checks that an attempt caused exactly one event and that all of its fields are correct.
func wantEvent(t *testing.T, events []event.Event, r emulate.Result, victim *node.Container, container string) {
	t.Helper()
	found := opening(t, by(events, r), r)
	if r.Outcome == emulate.OutcomeUnsupported {
		return
	}
	if !r.Access.SeenIn(tier(t)) {
		if len(found) != 0 {
			t.Errorf("%s was seen, which this tier is said not to:\n%s", tell(r), describe(found))
		}
		return
	}
	if len(found) != 1 {
		t.Fatalf("%d events of %s, want 1:\n%s", len(found), tell(r), describe(found))
	}
	e, a := found[0], found[0].Access
	if a.Vector != r.Access {
		t.Errorf("vector %s, want %s", a.Vector, r.Access)
	}
	if a.Technique != r.Access.Technique() {
		t.Errorf("technique %s, want %s", a.Technique, r.Access.Technique())
	}
	relation, target, inside := access.RelationOtherContainer, victim.PID, r.Target
	switch {
	case r.Access.OfNode(), r.Name == "perf-event-all":
		relation, target, inside = access.RelationKernel, 0, 0
	case r.Target == r.Attacker: // its own memory, or an io_uring that has no target yet
		relation, target = access.RelationSelf, a.Actor.PID
	case r.Access == access.VectorCoreDump:
		target = a.Target.PID // a copy of the victim
	case r.Name == "ptrace-userns":
		relation, target = access.RelationChild, a.Target.PID
	case r.Name == "ptrace-traceme", r.Name == "ptrace-fork":
		relation, target = access.RelationChild, a.Target.PID
		if r.Name == "ptrace-fork" || !r.Through() {
			inside = a.Target.PIDInside // a child that is refused, or keeps no secret, never says who it is
		}
	}
	if a.Relation != relation || a.Target.PID != target || a.Target.PIDInside != inside {
		t.Errorf("relation %s to %d (inside %d), want %s to %d (inside %d)",
			a.Relation, a.Target.PID, a.Target.PIDInside, relation, target, inside)
	}
	if e.Container.ID != container || a.Actor.Container != container || a.Inbound {
		t.Errorf("container %q, actor's %q, inbound %t; want the attacker's, %q", e.Container.ID, a.Actor.Container, a.Inbound, container)
	}
	if first := a.Actor.TID == a.Actor.PID; r.Name == "ptrace-from-thread" && first {
		t.Errorf("the thread %d of the process %d, want another than its first", a.Actor.TID, a.Actor.PID)
	}
	if a.Actor.Origin == nil || a.Actor.Origin.Kind != "entrypoint" {
		t.Errorf("origin %+v, want entrypoint", a.Actor.Origin)
	}
	if !strings.Contains(a.Actor.Cmdline, "emulate strike") && !sentAhead(a.Actor) ||
		a.Actor.Exe != "/bin/shimward" || a.Actor.UID != 0 || len(a.Actor.Ancestry) == 0 {
		t.Errorf("actor %s, %q, of uid %d below %v, want a strike of uid 0 below its judge", a.Actor.Exe, a.Actor.Cmdline, a.Actor.UID, a.Actor.Ancestry)
	}
	verdict := access.VerdictObserved
	switch r.Outcome {
	case emulate.OutcomeRefused:
		verdict = access.VerdictRefused
	case emulate.OutcomeKilled:
		verdict = access.VerdictKilled
	}
	if a.Verdict != verdict {
		t.Errorf("verdict %s, want %s: %s", a.Verdict, verdict, tell(r))
	}
	if t.Failed() {
		t.Logf("the event:\n%s", describe(found))
	}
}

// opening leaves out of an attempt's events the one that tells of what it went on to, and checks that
// there is one such where it got through.
func opening(t *testing.T, found []event.Event, r emulate.Result) []event.Event {
	t.Helper()
	rest := slices.DeleteFunc(slices.Clone(found), func(e event.Event) bool { return tellsOfFollow(e.Access, r) })
	if r.Follows() && len(found) != len(rest)+1 {
		t.Errorf("%d events of what %s led to, want 1:\n%s", len(found)-len(rest), r.Name, describe(found))
	}
	return rest
}

// tellsOfFollow reports whether an event is that of what an attempt went on to.
func tellsOfFollow(a *event.Access, r emulate.Result) bool {
	relation := access.RelationOtherContainer
	if own(r) {
		relation = access.RelationChild
	}
	return r.Follow != access.VectorUnknown && a.Vector == r.Follow && a.Target.PIDInside == r.Target && a.Relation == relation
}

// wantNothingElse checks that nothing but the attempts raised an event.
func wantNothingElse(t *testing.T, events []event.Event, report emulate.Report) {
	t.Helper()
	known := map[int]bool{}
	for _, r := range report.Results {
		known[r.Attacker] = true
	}
	for _, e := range events {
		if !known[e.Access.Actor.PIDInside] && !sentAhead(e.Access.Actor) {
			t.Errorf("an event of no attempt:\n%s", describe([]event.Event{e}))
		}
	}
}

// sentAhead reports whether a process is the one by which mem-scm-rights opens the file. The open
// is an access of its own.
func sentAhead(p event.Process) bool { return strings.Contains(p.Cmdline, "emulate give") }

func tell(r emulate.Result) string {
	return r.Name + ": " + string(r.Outcome) + " " + r.Errno + " " + r.Signal + " " + r.Error + " (" + r.Step + ") " + r.Note
}

package e2e

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/emulate"
)

// vectors returns one vector through a file and one through a system call. In every tier, different
// sensors see them.
func vectors() []string { return []string{"proc-mem-read", "process-vm-readv"} }

// untilVictim is a shell loop around an attack. The emulation exits with 2 if a victim in another
// container has not planted its secret yet.
const untilVictim = `while :; do /bin/shimward emulate "$@"; code=$?; [ $code = 2 ] || exit $code; done`

// attacker returns a container that attacks the pod's victim by itself, and exits with 0 if nothing
// got through.
func attacker(name string) corev1.Container {
	return container(name, append([]string{"/bin/sh", "-c", untilVictim, "sh", "--json"}, vectors()...)...)
}

// attackFrom runs the attack emulation through kubectl exec.
func (s *stage) attackFrom(t *testing.T, p *corev1.Pod, name string, args ...string) emulate.Report {
	t.Helper()
	command := append([]string{"/bin/shimward", "emulate", "--json"}, args...)
	ctx := testContext(t)
	for {
		result := s.exec(t, p, name, append(command, vectors()...)...)
		if result.Code == 2 && ctx.Err() == nil {
			continue // the victim has not planted its secret yet
		}
		var report emulate.Report
		if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
			t.Fatalf("the emulation's report: %v in %s", err, result)
		}
		if len(report.Results) != len(vectors()) {
			t.Fatalf("the emulation made %d attempts, want %d: %s", len(report.Results), len(vectors()), result)
		}
		return report
	}
}

// wantThrough checks that every attempt got the secret, or that none did.
func wantThrough(t *testing.T, report emulate.Report, want bool) {
	t.Helper()
	for _, result := range report.Results {
		if result.Through() != want {
			t.Errorf("%s: got through: %t, want %t: %+v", result.Name, result.Through(), want, result)
		}
	}
}

// wantEvents checks that each attempt has its event, and returns the events.
func (s *stage) wantEvents(t *testing.T, container string, report emulate.Report, relation access.Relation) []event.Event {
	t.Helper()
	var found []event.Event
	for _, result := range report.Results {
		e, err := s.Node.WaitEvent(testContext(t), container, func(e event.Event) bool {
			return e.Kind == event.KindAccess && e.Access.Actor.PIDInside == result.Attacker
		})
		if err != nil {
			t.Fatalf("%s: %v", result.Name, err)
		}
		if e.Access.Relation != relation || e.Access.Vector != result.Access {
			t.Errorf("want %s at %s, have %s", result.Access, relation, e.Message)
		}
		found = append(found, e)
	}
	return found
}

// wantRefused waits for a container's events of both vectors, and checks that neither was let
// through.
func (s *stage) wantRefused(t *testing.T, container string, relation access.Relation) {
	t.Helper()
	for _, vector := range []access.Vector{access.VectorProcMem, access.VectorProcessVMReadv} {
		e, err := s.Node.WaitEvent(testContext(t), container, func(e event.Event) bool {
			return e.Kind == event.KindAccess && e.Access.Vector == vector
		})
		if err != nil {
			t.Fatalf("%s: %v", vector, err)
		}
		if e.Access.Verdict == access.VerdictObserved || e.Access.Relation != relation {
			t.Errorf("want %s at %s stopped, have %s", vector, relation, e.Message)
		}
	}
}

package bpf

import (
	"syscall"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// An event by which a process samples its own registers and stack goes on in its children, and in
// what it execs. To open it, the process names no other.
func TestHeir(t *testing.T) {
	node := newNode(t)
	heir := buildC(t, "heir")
	for _, how := range []string{"inherit", "crowd", "give", "thread"} {
		if said, status := start(t, nil, nil, "exec", heir, how).end(); said != "got it" {
			t.Errorf("%s: without a guard, it ended with %v and said %q", how, status, said)
			continue
		}
		w := want{
			vector: access.VectorPerfEvent, operation: access.OperationRead, relation: access.RelationChild, sensor: access.SensorAccess,
		}
		t.Run(how+"/refused", func(t *testing.T) {
			c := newContainer(t, node, plan("heir", policy.ModeEnforce, allRefused()))
			said, status := c.run("exec", heir, how).end()
			if said == "got it" || (how == "inherit" || how == "crowd") && status.Signal() != syscall.SIGKILL {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			w := w
			w.verdict = access.VerdictKilled
			c.expect(w)
		})
		t.Run(how+"/observed", func(t *testing.T) {
			c := newContainer(t, node, plan("heir", policy.ModeEnforce, allObserved()))
			if said, status := c.run("exec", heir, how).end(); said != "got it" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			w := w
			w.verdict = access.VerdictObserved
			c.expect(w)
		})
	}
}

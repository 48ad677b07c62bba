package bpf

import (
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// If the kernel has BPF LSM, a refusal is an errno that the attacker survives.
func TestLSM(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	if node.Tier() != access.TierLSM {
		t.Fatalf("bpf is among the active modules, and the tier is %v", node.Tier())
	}
	victim := newVictim(t, nil)
	for _, test := range []struct {
		part   []string
		said   string
		vector access.Vector
	}{
		{[]string{"mem-read", victim.pid, victim.address}, "permission denied", access.VectorProcMem},
		{[]string{"mem-write", victim.pid, victim.address}, "permission denied", access.VectorProcMem},
		{[]string{"vm-read", victim.pid, victim.address}, "operation not permitted", access.VectorProcessVMReadv},
		{[]string{"vm-write", victim.pid, victim.address}, "operation not permitted", access.VectorProcessVMWritev},
		{[]string{"peek", victim.pid, victim.address}, "operation not permitted", access.VectorPtrace},
		{[]string{"getfd", victim.pid, "0"}, "operation not permitted", access.VectorPidfdGetfd},
		{[]string{"kcmp", victim.pid, victim.address}, "operation not permitted", access.VectorKcmp},
		{[]string{"pages", victim.pid, victim.address}, "operation not permitted", access.VectorMovePages},
		{[]string{"advise", victim.pid, victim.address}, "permission denied", access.VectorProcessMadvise},
		{[]string{"perf", victim.pid, victim.address}, "operation not permitted", access.VectorPerfEvent},
		{[]string{"core-limit", victim.pid, victim.address}, "operation not permitted", access.VectorCoreLimit},
		{[]string{"self-write"}, "permission denied", access.VectorSelfMem},
		{[]string{"traceme"}, "operation not permitted", access.VectorPtrace},
	} {
		t.Run(test.part[0], func(t *testing.T) {
			c := newContainer(t, node, plan("lsm", policy.ModeEnforce, allRefused()))
			said, status := c.run(test.part...).end()
			if status.ExitStatus() != 1 || !strings.HasSuffix(said, test.said) {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			r := c.expect(want{vector: test.vector, verdict: access.VerdictRefused, sensor: access.SensorLSM})
			if traceme := r.Flags&FlagTraceme != 0; traceme != (test.part[0] == "traceme") {
				t.Errorf("flags %b", r.Flags)
			}
		})
	}
}

func TestLSMTraceme(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	rules := allRefused()
	rules.Child = policy.ActionObserve
	c := newContainer(t, node, plan("traceme", policy.ModeEnforce, rules))
	p := c.run("traceme")
	if said, status := p.end(); status.ExitStatus() != 0 {
		t.Errorf("it ended with %v and said %q", status, said)
	}
	r := c.expect(want{
		vector: access.VectorPtrace, operation: access.OperationAttach, relation: access.RelationChild,
		verdict: access.VerdictObserved, sensor: access.SensorLSM, flags: FlagTraceme,
	})
	if r.Actor.PID != p.cmd.Process.Pid || r.Target.PID == r.Actor.PID {
		t.Errorf("who traces whom: %d traces %d", r.Actor.PID, r.Target.PID)
	}
}

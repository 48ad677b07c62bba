package bpf

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// Accesses that io_uring completes during another system call: see testdata/late.c.
func TestAccessLate(t *testing.T) {
	node := sharedNode(t)
	late := buildC(t, "late")
	inContainer := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
	for _, call := range []string{"getppid", "clone", "exec", "ptrace", "vm"} {
		victim := newVictim(t, nil)
		part := []string{"exec", late, call, victim.pid, victim.address, strconv.Itoa(len(secret))}
		own := []string{"exec", late, call, "self", "0", "0"}
		if said, status := start(t, nil, nil, part...).end(); status.ExitStatus() == 3 {
			t.Logf("this kernel has no io_uring: %s", said)
			return
		}
		t.Run("audit/"+call, func(t *testing.T) {
			c := newContainer(t, node, plan("audit", policy.ModeAudit, allRefused()))
			gotIt(t, c.run(part...))
			c.expect(want{
				vector: access.VectorProcMem, operation: access.OperationRead, relation: access.RelationHost,
				verdict: access.VerdictObserved, sensor: access.SensorAccess, target: victim.number(),
			})
		})
		t.Run("enforce/"+call, func(t *testing.T) {
			c := newContainer(t, node, plan("enforce", policy.ModeEnforce, allRefused()))
			c.stopped(c.run(part...))
			c.expect(want{vector: access.VectorProcMem, verdict: node.stopVerdict(), target: victim.number()})
		})
		t.Run("self/"+call, func(t *testing.T) {
			c := newContainer(t, node, plan("self", policy.ModeEnforce, allRefused()))
			c.stopped(c.run(own...))
			c.expect(want{vector: access.VectorSelfMem, operation: access.OperationWrite, verdict: node.stopVerdict()})
		})
		t.Run("inbound/"+call, func(t *testing.T) {
			c := newContainer(t, node, plan("inbound", policy.ModeEnforce, allRefused()))
			inside := meet(c.run("victim"))
			c.stopped(start(t, inContainer, nil, "exec", late, call, inside.pid, inside.address, strconv.Itoa(len(secret))))
			c.expect(want{vector: access.VectorProcMem, verdict: node.stopVerdict(), target: inside.number()})
		})
	}
}

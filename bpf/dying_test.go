package bpf

import (
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// Reads that io_uring does for an exiting process (see testdata/dying.c) are not stopped here: a
// kill comes too late and must not be reported as one. Without LSM programs, seccomp refuses the
// ring (mem-io-uring-ended of package emulate); with them, the file cannot be opened. Neither is
// what is done to such a process: see wantReaped.
func TestAccessDying(t *testing.T) {
	node := sharedNode(t)
	for _, mode := range []policy.Mode{policy.ModeAudit, policy.ModeEnforce} {
		t.Run("reaped/"+string(mode), func(t *testing.T) { wantReaped(t, node, mode) })
	}
	dying := buildC(t, "dying")
	for _, how := range []string{"exit", "kill"} {
		part := func(victim *victim) []string {
			return []string{"exec", dying, how, "3", victim.address, strconv.Itoa(len(secret))}
		}
		t.Run("outbound/"+how, func(t *testing.T) {
			victim := newVictim(t, nil)
			c := newContainer(t, node, plan("dying", policy.ModeEnforce, allRefused()))
			p := c.runWith([]*os.File{victim.openMem(t)}, part(victim)...)
			said, status := p.end()
			if status.ExitStatus() == 3 {
				t.Logf("this kernel has no io_uring: %s", said)
				return
			}
			if said != secret {
				t.Fatalf("it ended with %v and said %q: is it stopped now? Then say so", status, said)
			}
			c.expect(want{
				vector: access.VectorProcMem, operation: access.OperationRead, relation: access.RelationHost,
				verdict: access.VerdictObserved, sensor: access.SensorAccess, flags: FlagKillFailed, target: victim.number(),
			})
		})
		t.Run("inbound/"+how, func(t *testing.T) {
			c := newContainer(t, node, plan("dying", policy.ModeEnforce, allRefused()))
			victim := meet(c.run("victim"))
			attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
			said, status := start(t, attr, []*os.File{victim.openMem(t)}, part(victim)...).end()
			if status.ExitStatus() == 3 {
				t.Logf("this kernel has no io_uring: %s", said)
				return
			}
			if said != secret {
				t.Fatalf("it ended with %v and said %q: is it stopped now? Then say so", status, said)
			}
			c.expect(want{
				vector: access.VectorProcMem, relation: access.RelationOtherContainer, verdict: access.VerdictObserved,
				sensor: access.SensorAccess, flags: FlagKillFailed | FlagInbound | FlagInboundRule, target: victim.number(),
			})
		})
	}
}

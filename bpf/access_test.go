package bpf

import (
	"syscall"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// attacks are the ways to the memory of another process that the access sensor is to see.
var attacks = []struct {
	part      string
	vector    access.Vector
	operation access.Operation
}{
	{"mem-read", access.VectorProcMem, access.OperationRead},
	{"mem-write", access.VectorProcMem, access.OperationWrite},
	{"task-mem-read", access.VectorProcMem, access.OperationRead},
	{"vm-read", access.VectorProcessVMReadv, access.OperationRead},
	{"vm-write", access.VectorProcessVMWritev, access.OperationWrite},
}

func TestAccess(t *testing.T) {
	node := newNode(t)
	for _, attack := range attacks {
		t.Run("audit/"+attack.part, func(t *testing.T) {
			victim := newVictim(t, nil)
			c := newContainer(t, node, plan("audit", policy.ModeAudit, allRefused()))
			said, status := c.run(attack.part, victim.pid, victim.address).end()
			if status.ExitStatus() != 0 {
				t.Fatalf("audit stopped it: %v, %q", status, said)
			}
			if attack.operation == access.OperationRead && said != secret {
				t.Fatalf("it read %q: the attack proves nothing", said)
			}
			if attack.operation == access.OperationWrite && victim.secret() != planted {
				t.Fatal("it changed nothing: the attack proves nothing")
			}
			checkRecord(t, c, victim, attack.vector, attack.operation, access.VerdictObserved)
		})
		t.Run("enforce/"+attack.part, func(t *testing.T) {
			victim := newVictim(t, nil)
			c := newContainer(t, node, plan("enforce", policy.ModeEnforce, allRefused()))
			said, status := c.run(attack.part, victim.pid, victim.address).end()
			if status.Signal() != syscall.SIGKILL || said != "" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			if got := victim.secret(); got != secret {
				t.Errorf("the victim has %q", got)
			}
			checkRecord(t, c, victim, attack.vector, attack.operation, access.VerdictKilled)
		})
	}
}

func checkRecord(t *testing.T, c *container, victim *victim, vector access.Vector, operation access.Operation, verdict access.Verdict) {
	t.Helper()
	records := c.records()
	if len(records) != 1 {
		t.Fatalf("%d records: %+v", len(records), records)
	}
	r := records[0]
	if r.Vector != vector || r.Operation != operation || r.Verdict != verdict || r.Relation != access.RelationHost ||
		r.Sensor != access.SensorAccess || r.Target.PID != victim.number() || len(r.Actor.Args) == 0 || r.Actor.Exe == "" {
		t.Errorf("a wrong record: %+v", r)
	}
	if wouldRefuse := r.Flags&FlagWouldRefuse != 0; wouldRefuse != (verdict == access.VerdictObserved) {
		t.Errorf("flags %b", r.Flags)
	}
	if got := c.counters()[Counter{vector, verdict, access.SensorAccess}]; got == 0 {
		t.Errorf("counters: %v", c.counters())
	}
}

package bpf

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// The doors that Go does not open: see testdata/doors.c.
func TestAccessDoors(t *testing.T) {
	node := newNode(t)
	doors := filepath.Join(t.TempDir(), "doors")
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-pthread", "-o", doors, "testdata/doors.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, door := range []struct {
		name   string
		vector access.Vector
		flags  Flags
	}{
		{"int80-vm", access.VectorProcessVMReadv, FlagCompat},
		{"high-vm", access.VectorProcessVMReadv, 0},
		{"int80-mem", access.VectorProcMem, FlagCompat},
		{"uring", access.VectorProcMem, 0},
		{"uring-worker", access.VectorProcMem, 0},
		{"race", access.VectorProcMem, 0},
	} {
		t.Run(door.name, func(t *testing.T) {
			victim := newVictim(t, nil)
			part := []string{"exec", doors, door.name, victim.pid, victim.address, strconv.Itoa(len(secret))}
			said, status := start(t, nil, nil, part...).end()
			if status.ExitStatus() == 3 {
				t.Logf("this kernel has no such door: %s", said)
				return
			}
			if said != secret {
				t.Fatalf("unguarded, it ended with %v and said %q: the door proves nothing", status, said)
			}
			audited := newContainer(t, node, plan("audited", policy.ModeAudit, allRefused()))
			gotIt(t, audited.run(part...))
			audited.expect(want{
				vector: door.vector, operation: access.OperationRead, verdict: access.VerdictObserved,
				sensor: access.SensorAccess, flags: door.flags, target: victim.number(),
			})
			enforced := newContainer(t, node, plan("enforced", policy.ModeEnforce, allRefused()))
			enforced.stopped(enforced.run(part...))
			enforced.expect(want{vector: door.vector, verdict: node.stopVerdict(), target: victim.number()})
		})
	}
}

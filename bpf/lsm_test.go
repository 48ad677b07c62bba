package bpf

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// Where the kernel has BPF LSM, a refusal is an errno that the attacker lives to see.
func TestLSM(t *testing.T) {
	testenv.LSM(t)
	node := newNode(t)
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
	node := newNode(t)
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

// The node's memory by /dev/mem and its ports by /dev/port, whatever the names are. These
// kernels have no /dev/port (nor /dev/kmem): the open fails without a guard too, by ENXIO,
// and later than the gate.
func TestLSMMemoryDevices(t *testing.T) {
	testenv.LSM(t)
	node := newNode(t)
	read := func(path string) []string {
		return []string{"exec", "/bin/busybox", "sh", "-c", `/bin/busybox head -c 1 "$0" 2>&1`, path}
	}
	for name, number := range map[string]int{"mem": 1<<8 | 1, "null": 1<<8 | 3, "port": 1<<8 | 4} {
		t.Run(name, func(t *testing.T) {
			device := filepath.Join(t.TempDir(), "harmless")
			if err := unix.Mknod(device, unix.S_IFCHR|0o600, number); err != nil {
				t.Fatal(err)
			}
			said, status := start(t, nil, nil, read(device)...).end()
			if absent := strings.Contains(said, "No such device or address"); status.ExitStatus() != 0 && (name != "port" || !absent) {
				t.Fatalf("unguarded, it ended with %v and said %q: this proves nothing", status, said)
			}
			c := newContainer(t, node, plan("devices", policy.ModeEnforce, allRefused()))
			said, status = c.run(read(device)...).end()
			if name == "null" {
				if status.ExitStatus() != 0 {
					t.Errorf("it ended with %v and said %q", status, said)
				}
				return
			}
			if status.ExitStatus() == 0 || !strings.Contains(said, "Permission denied") {
				t.Errorf("it was not refused: it ended with %v and said %q", status, said)
			}
			c.expect(want{vector: access.VectorKernelMem, relation: access.RelationKernel, verdict: access.VerdictRefused, sensor: access.SensorLSM})
		})
	}
}

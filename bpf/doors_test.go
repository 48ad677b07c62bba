package bpf

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// Accesses that cannot be made from Go: see testdata/doors.c.
func TestAccessDoors(t *testing.T) {
	node := sharedNode(t)
	doors := buildDoors(t)
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
			needEntry(t, door.name)
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

// Calls on a guarded process that do not move its memory, from an unguarded container: through
// every entry, from a thread, and in a user namespace of its own.
func TestLSMInspectDoors(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	doors := buildDoors(t)
	c := newContainer(t, node, plan("inspected", policy.ModeEnforce, allRefused()))
	guarded, free := meet(c.run("victim")), newVictim(t, nil)
	for call, vector := range map[string]access.Vector{
		"kcmp": access.VectorKcmp, "pages": access.VectorMovePages, "advise": access.VectorProcessMadvise,
		"perf": access.VectorPerfEvent, "limit": access.VectorCoreLimit,
	} {
		for _, entry := range []string{"plain", "high", "int80", "x32", "thread"} {
			t.Run(entry+"-"+call, func(t *testing.T) {
				needEntry(t, entry)
				part := func(victim *victim) []string {
					return []string{"exec", doors, entry + "-" + call, victim.pid, victim.address, "1"}
				}
				outside := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
				said, status := start(t, outside, nil, part(free)...).end()
				if status.ExitStatus() == 3 {
					t.Logf("this kernel has no such door: %s", said)
					return
				}
				if said != "reached" {
					t.Fatalf("at an unguarded one, it ended with %v and said %q: the door proves nothing", status, said)
				}
				actor := start(t, outside, nil, part(guarded)...)
				if said, status := actor.end(); said == "reached" || status.ExitStatus() != 1 {
					t.Errorf("it ended with %v and said %q", status, said)
				}
				flags := FlagInbound | FlagInboundRule
				if entry == "int80" {
					flags |= FlagCompat
				}
				r := c.expect(want{
					vector: vector, relation: access.RelationOtherContainer, verdict: access.VerdictRefused,
					sensor: access.SensorLSM, flags: flags, target: guarded.number(),
				})
				if r.Actor.PID != actor.cmd.Process.Pid {
					t.Errorf("the actor is %d, want %d", r.Actor.PID, actor.cmd.Process.Pid)
				}
			})
		}
		t.Run("user namespace-"+call, func(t *testing.T) {
			own := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWUSER}
			said, status := start(t, own, nil, "exec", doors, "plain-"+call, guarded.pid, guarded.address, "1").end()
			if said == "reached" || status.ExitStatus() != 1 {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			c.records()
		})
	}
}

// A signal that would make a guarded process dump core is refused from another container, but not
// from its own container or from the node.
func TestLSMCoreDump(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	doors := buildDoors(t)
	target := func(t *testing.T) (*container, int, func(door string) []string) {
		t.Helper()
		c := newContainer(t, node, plan("signalled", policy.ModeEnforce, allRefused()))
		pid := c.run("exec", "/bin/sleep", "1000").cmd.Process.Pid
		waitComm(t, pid, "sleep")
		return c, pid, func(door string) []string { return []string{"exec", doors, door, strconv.Itoa(pid), "0", "1"} }
	}
	for _, door := range []string{"plain-kill", "int80-kill", "thread-tgkill", "plain-pidfd", "plain-cpu", "plain-fsize", "plain-stack", "plain-rttime"} {
		t.Run(door, func(t *testing.T) {
			needEntry(t, door)
			c, pid, part := target(t)
			outside := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
			if said, status := start(t, outside, nil, part(door)...).end(); status.ExitStatus() != 1 {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			c.expect(want{
				vector: access.VectorCoreDump, operation: access.OperationRead, relation: access.RelationOtherContainer,
				verdict: access.VerdictRefused, sensor: access.SensorLSM, flags: FlagInbound | FlagInboundRule, target: pid,
			})
			if err := unix.Kill(pid, 0); err != nil {
				t.Errorf("the target: %v", err)
			}
		})
	}
	for _, from := range []string{"the node", "its own container"} {
		t.Run("from "+from, func(t *testing.T) {
			c, _, part := target(t)
			send := func() *process { return start(t, nil, nil, part("plain-kill")...) }
			if from != "the node" {
				send = func() *process { return c.join(part("plain-kill")...) }
			}
			if said, status := send().end(); said != "reached" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			if records := c.records(); len(records) > 0 {
				t.Errorf("%d records of what is nobody's business: %+v", len(records), *records[0])
			}
		})
	}
}

// waitComm waits until a process has the given name.
func waitComm(t *testing.T, pid int, name string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(comm)) == name {
			return
		}
	}
}

// needEntry skips a door that uses an x86 entry: there, int 0x80 and x32 are available to any
// process, while arm64's 32-bit entry is only available to 32-bit programs.
func needEntry(t *testing.T, door string) {
	t.Helper()
	entry, _, _ := strings.Cut(door, "-")
	if runtime.GOARCH != "amd64" && (entry == "int80" || entry == "x32") {
		testenv.Elsewhere(t, "the entry "+entry+" is x86's")
	}
}

func buildDoors(t *testing.T) string {
	t.Helper()
	return buildC(t, "doors")
}

// buildC builds a program in testdata and returns its path.
func buildC(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-pthread", "-o", program, "testdata/"+name+".c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

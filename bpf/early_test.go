package bpf

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// A process that attached to another before the guard existed, as an unguarded container of the pod
// can to what the runtime starts, stays attached afterwards.
func TestEarly(t *testing.T) {
	node := sharedNode(t)
	inContainer := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
	for name, test := range map[string]struct {
		part      string
		vector    access.Vector
		operation access.Operation
	}{
		"tracer":  {"trace-early", access.VectorPtrace, access.OperationAttach},
		"sampler": {"sample-early", access.VectorPerfEvent, access.OperationRead},
	} {
		// begin starts a container that an early actor has already attached to.
		begin := func(t *testing.T, rules policy.Rules, attr *syscall.SysProcAttr) (*container, *process, *process) {
			t.Helper()
			c := newContainer(t, node, plan("early", policy.ModeEnforce, rules))
			init := c.enter("victim")
			init.expect("at the gate")
			if err := node.Enrol(c.plan, init.cmd.Process.Pid, c.cgroup); err != nil {
				t.Fatal(err)
			}
			early := start(t, attr, nil, test.part, strconv.Itoa(init.cmd.Process.Pid))
			early.expect("early")
			init.say("go")
			return c, init, early
		}
		w := want{vector: test.vector, operation: test.operation, sensor: access.SensorAccess, flags: FlagInbound}
		t.Run(name+"/refused", func(t *testing.T) {
			c, init, _ := begin(t, allRefused(), inContainer)
			if said, ran := init.hear(); ran {
				t.Fatalf("what is not to be read runs: it said %q", said)
			}
			if _, status := init.end(); status.Signal() != syscall.SIGKILL {
				t.Errorf("it ended with %v", status)
			}
			w := w
			w.verdict, w.relation = access.VerdictKilled, access.RelationOtherContainer
			c.expect(w)
		})
		t.Run(name+"/observed", func(t *testing.T) {
			c, init, early := begin(t, allObserved(), inContainer)
			holds(early, meet(init))
			w := w
			w.verdict, w.relation = access.VerdictObserved, access.RelationOtherContainer
			c.expect(w)
		})
		t.Run(name+"/of the node", func(t *testing.T) {
			c, init, early := begin(t, allRefused(), nil)
			holds(early, meet(init))
			w := w
			w.verdict, w.relation = access.VerdictObserved, access.RelationHost
			c.expect(w)
		})
	}
}

// holds fails the test if the early actor has no hold on the victim: the rest would prove nothing.
func holds(early *process, victim *victim) {
	early.t.Helper()
	if early.cmd.Args[1] == "sample-early" {
		early.say("now")
		early.expect("counts")
		victim.secret()
	}
	early.expect("got it")
}

// threadsOf returns the current threads of a process.
func threadsOf(pid string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join("/proc", pid, "task"))
	var threads []int
	for _, entry := range entries {
		tid, _ := strconv.Atoi(entry.Name())
		threads = append(threads, tid)
	}
	return threads, err
}

// playTraceEarly traces a process that is about to exec, and prints a line once it has stopped it
// after the exec.
func playTraceEarly(pid string) int {
	runtime.LockOSThread()
	threads, err := threadsOf(pid)
	if err != nil {
		return fail(err)
	}
	for _, tid := range threads {
		options := uintptr(unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACECLONE)
		if err := errnoOf(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, options); err != nil {
			return fail(err)
		}
	}
	fmt.Println("early")
	for {
		var status syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err != nil:
			return fail(err)
		case !status.Stopped():
			continue // a thread that the exec ended
		case status.StopSignal() == syscall.SIGTRAP && status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			fmt.Println("got it")
		}
		deliver := 0
		if status.StopSignal() != syscall.SIGTRAP && status.StopSignal() != syscall.SIGSTOP {
			deliver = int(status.StopSignal())
		}
		_ = syscall.PtraceCont(tid, deliver)
	}
}

// playSampleEarly attaches a counter to a process that is about to exec, and prints a line when the
// process has run since a line was read.
func playSampleEarly(pid string) int {
	threads, err := threadsOf(pid)
	if err != nil {
		return fail(err)
	}
	var events []int
	for _, tid := range threads {
		event, err := unix.PerfEventOpen(&unix.PerfEventAttr{
			Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
			Bits: unix.PerfBitInherit, // inherited by new threads
		}, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return fail(err)
		}
		events = append(events, event)
	}
	count := func() (sum uint64) {
		for _, event := range events {
			var value [8]byte
			_, _ = unix.Read(event, value[:])
			sum += binary.NativeEndian.Uint64(value[:])
		}
		return sum
	}
	fmt.Println("early")
	_, _ = fmt.Scanln()
	before := count()
	fmt.Println("counts")
	for count() == before {
		_, _ = unix.Poll(nil, 1)
	}
	fmt.Println("got it")
	return 0
}

package bpf

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// wantReaped has the memory of a guarded process reclaimed that is being killed. process_mrelease(2)
// asks for nobody's permission, and does something to such a process only. From outside, nothing but
// the lock of that memory shows it. The kernel takes a lock that is free although its taker was
// killed meanwhile: the call is seen, and its caller dies of it, but the memory is given back.
func wantReaped(t *testing.T, node *Node, mode policy.Mode) {
	t.Helper()
	c := newContainer(t, node, plan("reaped", mode, allRefused()))
	victim := meet(c.run("victim"))
	killAndHold(t, victim.number())
	if got := peek(t, victim); got != secret {
		t.Fatalf("it has %q before anybody reaped it: this proves nothing", got)
	}
	p := start(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}, nil, "reap", victim.pid)
	said, status := p.end()
	if got := peek(t, victim); got == secret {
		t.Errorf("the kernel took nothing, and the caller said %q: is it stopped now? Then say so", said)
	}
	w := want{
		vector: access.VectorProcessMrelease, operation: access.OperationInspect, relation: access.RelationOtherContainer,
		verdict: access.VerdictObserved, sensor: access.SensorAccess, flags: FlagInbound | FlagInboundRule, target: victim.number(),
	}
	switch {
	case mode == policy.ModeEnforce:
		w.verdict = access.VerdictKilled
		if status.Signal() != syscall.SIGKILL {
			t.Errorf("it ended with %v and said %q", status, said)
		}
	case said != "reaped":
		t.Errorf("audit stopped it: %v, %q", status, said)
	}
	c.expect(w)
}

// killAndHold kills a process, and keeps it from giving up its memory until the test ends, as its
// tracer (PTRACE_O_TRACEEXIT).
func killAndHold(t *testing.T, pid int) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := errnoOf(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, unix.PTRACE_O_TRACEEXIT); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	if !status.Stopped() || status.TrapCause() != unix.PTRACE_EVENT_EXIT {
		t.Fatalf("process %d is %#x, and not held at its exit", pid, status)
	}
	t.Cleanup(func() {
		if err := unix.PtraceDetach(pid); err != nil {
			t.Error(err)
		}
	})
}

// peek reads the secret of a process that this thread traces, as far as that is still there.
func peek(t *testing.T, v *victim) string {
	t.Helper()
	address, err := strconv.ParseUint(v.address, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(secret))
	n, err := unix.PtracePeekData(v.number(), uintptr(address), got)
	if err != nil {
		return fmt.Sprint(err)
	}
	return strings.TrimRight(string(got[:n]), "\x00")
}

// playReap has the kernel reclaim the memory of a process that is being killed.
func playReap(target string) int {
	pid, _ := strconv.Atoi(target)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fail(err)
	}
	if err := errnoOf(unix.SYS_PROCESS_MRELEASE, uintptr(pidfd), 0); err != nil {
		return fail(err)
	}
	fmt.Println("reaped")
	return 0
}

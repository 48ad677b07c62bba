package seccomp

import (
	"context"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
)

// Task is a process, or one of its threads, by its pids as this process sees them.
// The zero Task is one that could not be told: it is in a pid namespace out of sight.
type Task struct {
	PID   int    // of the thread group
	TID   int    // of the thread: the caller, or the one that was aimed at
	Start uint64 // when the process began, in clock ticks after boot: with PID, unique until reboot
}

// Call is an attempt at a process's memory. kcmp, which is about two processes,
// makes a Call for each that is not the caller itself.
type Call struct {
	Vector    access.Vector
	Operation access.Operation
	Syscall   string
	Request   string     // of ptrace and bpf, such as "PTRACE_ATTACH"
	Arch      specs.Arch // whose system call it was
	// Actor is the caller. With PTRACE_TRACEME, which hands the caller to its
	// parent, the parent is the Actor and the caller the Target.
	Actor        Task
	Target       Task
	TargetInside int // the pid that the caller gave, in its own namespace; 0 where it gave a pidfd
	// Process is the pid of the process that the runtime started and whose filter
	// this is: the container's init, or that of an exec.
	Process int
	// Kernel says that it is about no process: a window to the memory of the node.
	Kernel bool
	// Swappable says that somebody other than the waiting caller could put
	// another file in place of the pidfd before the kernel looks again. What the
	// sensors in the kernel do not see (pidfd_getfd without the lsm tier) should
	// then be let through only where every target would be.
	Swappable bool

	valid func() bool
}

// Valid says whether the caller still waits. What was read of it under
// /proc/<pid> before is its own only if it does: ask after reading, before using.
func (c Call) Valid() bool { return c.valid != nil && c.valid() }

// Answer is what becomes of a Call. The zero Answer refuses with EPERM.
type Answer struct {
	Continue bool          // the kernel carries the call out, if it agrees
	Errno    syscall.Errno // otherwise: what the call fails with; EPERM if 0
	// Delivered, if any, is called once the caller has the answer. It never gets one
	// that was killed, and one that a signal interrupted asks again: an attempt is
	// answered many times, and delivered an answer once.
	Delivered func()
}

// Decider answers Calls. It is asked by many goroutines at once, and again about
// the same call where its target changed while it was asked. The caller waits.
type Decider interface {
	Decide(ctx context.Context, call Call) Answer
}

// response is what the kernel is told.
type response struct {
	carryOn bool
	errno   syscall.Errno // 0: the call returns 0 without being carried out, as a filter's ERRNO(0) does
}

func (a Answer) response() response {
	switch {
	case a.Continue:
		return response{carryOn: true}
	case a.Errno == 0:
		return response{errno: unix.EPERM}
	default:
		return response{errno: a.Errno}
	}
}

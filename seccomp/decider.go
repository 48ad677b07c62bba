package seccomp

import (
	"context"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
)

// Task identifies a process, or one of its threads, by pids as this process sees them. The zero
// Task is one that could not be identified: it is in a pid namespace that is not visible from here.
type Task struct {
	PID   int    // of the thread group
	TID   int    // of the thread: the caller, or the targeted one
	Start uint64 // start time of the process, in clock ticks since boot: with PID, unique until reboot
}

// Call is an attempt to access a process's memory. kcmp, which is about two processes, makes a Call
// for each of them that is not the caller itself.
type Call struct {
	Vector    access.Vector
	Operation access.Operation
	Syscall   string
	Request   string     // for ptrace and bpf, such as "PTRACE_ATTACH"
	Arch      specs.Arch // the architecture whose system call it is
	// Actor is the caller. With PTRACE_TRACEME, which makes the caller its parent's tracee, the
	// parent is the Actor and the caller the Target.
	Actor        Task
	Target       Task
	TargetInside int // the pid that the caller passed, in its own namespace; 0 if it passed a pidfd
	// Process is the pid of the process that the runtime started with this filter: the container's
	// init, or that of an exec.
	Process int
	// Kernel says that it targets no process but the node: it is a window onto the node's memory.
	Kernel bool
	// Swappable says that the target may change after the decision: someone other than the waiting
	// caller could replace the file behind the pidfd before the kernel looks it up again, or the
	// target is named only later (io_uring_setup). Calls that no sensor in the kernel sees, or can
	// stop, without the lsm tier should then be allowed only if they would be for every target.
	Swappable bool
	// Preparation says that the call itself reaches for nothing: io_uring_setup only makes a later
	// access possible, and most rings are never used for one.
	Preparation bool

	valid func() bool
}

// Valid reports whether the caller still waits. Only then is what was read before from its
// /proc/<pid> its own: call Valid after reading, and before using what was read.
func (c Call) Valid() bool { return c.valid != nil && c.valid() }

// Answer is the decision on a Call. The zero Answer refuses with EPERM.
type Answer struct {
	Continue bool          // the kernel carries the call out, if its own checks pass
	Errno    syscall.Errno // otherwise, the error that the call fails with; 0 means EPERM
	// Delivered, if set, is called once the caller has received the answer. A caller that was
	// killed never receives one, and one that a signal interrupted asks again: an attempt may be
	// answered many times, but an answer is delivered once.
	Delivered func()
}

// Decider answers Calls. Decide is called from many goroutines concurrently, and again for the same
// call if its target changed meanwhile. The caller waits for the answer.
type Decider interface {
	Decide(ctx context.Context, call Call) Answer
}

// response is what is sent to the kernel.
type response struct {
	carryOn bool
	errno   syscall.Errno // 0: the call returns 0 without being carried out, like a filter's ERRNO(0)
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

package seccomp

import (
	"errors"
	"fmt"
	"os"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// notification is a system call that waits for its answer.
type notification struct {
	ID      uint64
	TID     int // the calling thread, as this process sees it; 0 if it is not visible
	Arch    specs.Arch
	Syscall string // "" if libseccomp has no name for it
	Data    data
}

// errStale says that the caller no longer waits, so that its pid may be another task's by now.
var errStale = errors.New("the caller is gone")

// resolver determines which processes a notification is about.
type resolver struct {
	proc    procfs
	process int // see Call.Process
	// valid reports whether the caller still waits. It is called after every read of the caller's
	// state, before the result is used.
	valid       func() bool
	sharesFiles func(tid int) bool // see ListenOptions
	// slow is held while all of proc is scanned, so that a container that causes scans over and
	// over costs the node no more than one core.
	slow sync.Locker
	// seen has the results of such scans.
	seen *seen
	// known is the caller, once identified: see again.
	known *caller
	// delivered are the functions to call once the caller has received its answer: see Answer.
	delivered []func()
}

// caller is what is known about the waiting thread.
type caller struct {
	Task
	status
}

// resolve returns the Calls that a notification stands for. Tasks that cannot be identified are
// zero; with no Calls, it is about no other process's memory. The error wraps errStale; errGone if
// there is no target; or errNotPIDFD.
func (r *resolver) resolve(n *notification, w watched) ([]Call, error) {
	call := Call{
		Vector: w.vector, Operation: w.operation, Syscall: w.name, Arch: n.Arch, Process: r.process, valid: r.valid,
	}
	call.Request = w.requestOf(n.Data.Args)
	who, err := r.again(n.TID, w)
	if err != nil {
		if errors.Is(err, errStale) {
			return nil, err
		}
		return []Call{call}, nil
	}
	call.Actor = who.Task

	switch w.argument {
	case argumentPIDFD:
		return r.byPIDFD(call, who, descriptor(n.Data.Args[0]))
	case argumentTwo:
		return r.byPIDs(call, who, descriptor(n.Data.Args[0]), descriptor(n.Data.Args[1]))
	case argumentTrace:
		if uint32(n.Data.Args[0]&requestMask) == requestTraceme {
			return r.traceme(call, who)
		}
		return r.byPIDs(call, who, descriptor(n.Data.Args[1]))
	case argumentPerf:
		if call.Kernel = n.Data.Args[4]&perfFlagPIDCgroup != 0 || descriptor(n.Data.Args[1]) == -1; call.Kernel {
			return []Call{call}, nil
		}
		return r.byPIDs(call, who, descriptor(n.Data.Args[1]))
	case argumentRing:
		call.Target, call.Swappable, call.Preparation = who.Task, true, true
		return []Call{call}, nil
	case argumentKernel:
		if who.capabilities&w.takes == 0 {
			return nil, nil // the kernel grants it nothing that reaches beyond itself
		}
		call.Kernel = true
		return []Call{call}, nil
	default:
		return r.byPIDs(call, who, descriptor(n.Data.Args[0]))
	}
}

// again returns the caller. It is not looked up anew if only properties are needed that cannot
// change while it waits: the pids of thread and process in all namespaces, the start time of the
// process, and the thread's own capabilities. Its parent and its number of threads can change.
func (r *resolver) again(tid int, w watched) (caller, error) {
	if r.known != nil && w.argument != argumentPIDFD && w.argument != argumentTrace {
		if !r.valid() {
			return caller{}, errStale
		}
		return *r.known, nil
	}
	who, err := r.caller(tid)
	if err == nil {
		r.known = &who
	}
	return who, err
}

// descriptor converts a register with a pid or a descriptor the way the kernel does: to an int.
func descriptor(register uint64) int {
	return int(int32(register & requestMask)) //nolint:gosec // the kernel's own truncation
}

func (r *resolver) caller(tid int) (caller, error) {
	if tid == 0 {
		return caller{}, errors.New("the caller is in a pid namespace that is not visible here")
	}
	s, err := r.proc.status(tid)
	if err == nil && !r.valid() {
		err = errStale
	}
	if err != nil {
		return caller{}, r.unlessStale(err)
	}
	task, err := r.task(s.tgid, tid)
	if err != nil {
		return caller{}, r.unlessStale(err)
	}
	if !r.valid() {
		return caller{}, errStale
	}
	return caller{Task: task, status: s}, nil
}

// unlessStale returns errStale for a read that failed because the caller is gone, and err
// otherwise.
func (r *resolver) unlessStale(err error) error {
	if !r.valid() {
		return errStale
	}
	return err
}

func (r *resolver) task(pid, tid int) (Task, error) {
	start, err := r.proc.start(pid)
	if err != nil {
		return Task{}, err
	}
	return Task{PID: pid, TID: tid, Start: start}, nil
}

// traceme handles a call without a target argument: the caller offers itself to its parent.
func (r *resolver) traceme(call Call, who caller) ([]Call, error) {
	call.Actor, call.Target = Task{}, who.Task
	if n := len(who.inside); n > 0 {
		call.TargetInside = who.inside[n-1]
	}
	if who.parent > 0 {
		if parent, err := r.task(who.parent, who.parent); err == nil {
			call.Actor = parent
		}
	}
	if !r.valid() {
		return nil, errStale
	}
	return []Call{call}, nil
}

// byPIDs makes a Call for each pid or, if there are several, for those that are not the caller's
// own.
func (r *resolver) byPIDs(call Call, who caller, inside ...int) ([]Call, error) {
	var list []Call
	for _, pid := range inside {
		target, err := r.target(who, pid)
		switch {
		case errors.Is(err, errStale), errors.Is(err, errGone):
			return nil, err
		case err != nil:
			target = Task{}
		}
		call.Target, call.TargetInside = target, pid
		list = append(list, call)
	}
	others := list[:0:0]
	for _, c := range list {
		if c.Target.PID != who.PID {
			others = append(others, c)
		}
	}
	if len(others) == 0 {
		return list[:1], nil
	}
	return others, nil
}

// target returns the process that a pid or tid in the caller's namespace belongs to.
func (r *resolver) target(who caller, inside int) (Task, error) {
	depth := len(who.inside) - 1
	if depth < 0 {
		return Task{}, errors.New("status has no NSpid")
	}
	if inside <= 0 {
		return Task{}, fmt.Errorf("pid %d: %w", inside, errGone)
	}
	if inside == who.inside[depth] {
		return who.Task, nil
	}
	tid := inside
	if depth > 0 {
		var err error
		if tid, err = r.translate(who, depth, inside); err != nil {
			return Task{}, err
		}
		if tid == 0 {
			return Task{}, fmt.Errorf("pid %d is not visible here", inside)
		}
	}
	return r.found(tid)
}

func (r *resolver) translate(who caller, depth, inside int) (int, error) {
	ns, err := r.proc.namespace(who.TID)
	if err != nil {
		return 0, r.unlessStale(fmt.Errorf("open the caller's pid namespace: %w", err))
	}
	defer func() { _ = ns.Close() }()
	if !r.valid() {
		return 0, errStale
	}
	pid, err := translate(ns, inside)
	if !errors.Is(err, errNoIoctl) {
		return pid, err
	}
	return r.search(ns, depth, inside)
}

// search is the fallback for a kernel that does not translate pids.
func (r *resolver) search(ns *os.File, depth, inside int) (int, error) {
	if tid := r.seen.find(ns, inside); tid != 0 && r.proc.is(ns, depth, inside, tid) {
		return tid, nil
	}
	r.slow.Lock()
	defer r.slow.Unlock()
	tid, err := r.proc.scan(ns, depth, inside)
	if err == nil {
		r.seen.keep(ns, inside, tid)
	}
	return tid, err
}

// found returns the process that a task of this proc belongs to.
func (r *resolver) found(tid int) (Task, error) {
	s, err := r.proc.status(tid)
	if err != nil {
		return Task{}, err
	}
	return r.task(s.tgid, tid)
}

// The values that stand for the caller itself instead of a pidfd, since Linux 6.14
// (include/uapi/linux/pidfd.h). Older kernels fail the call.
const (
	pidfdSelfThread      = -10000
	pidfdSelfThreadGroup = -20000
)

func (r *resolver) byPIDFD(call Call, who caller, fd int) ([]Call, error) {
	if fd == pidfdSelfThread || fd == pidfdSelfThreadGroup {
		call.Target = who.Task
		return []Call{call}, nil
	}
	if fd < 0 {
		return nil, errNotPIDFD
	}
	call.Swappable = who.threads != 1 || r.sharesFiles(who.TID)
	pid, err := r.proc.pidfd(who.TID, fd)
	if !r.valid() {
		return nil, errStale
	}
	if err == nil && pid != 0 {
		call.Target, err = r.found(pid)
	}
	if errors.Is(err, errNotPIDFD) || errors.Is(err, errGone) {
		return nil, err
	}
	return []Call{call}, nil // with an unidentified target if something else went wrong
}

package seccomp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// session serves the notify descriptor of one process that the runtime started, and its descendants.
type session struct {
	listener *Listener
	file     *os.File
	process  int
	decider  Decider
}

func newSession(l *Listener, file *os.File, process int, decider Decider) *session {
	return &session{listener: l, file: file, process: process, decider: decider}
}

// serve returns when the last task with the filter is gone, or the file is closed.
func (s *session) serve(ctx context.Context) error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("use the notify descriptor: %w", err)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		n, err := next(raw)
		if n == nil {
			return err
		}
		// Where all workers are busy, the next ones wait in the kernel, in order.
		select {
		case s.listener.workers <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		workers.Go(func() {
			defer func() { <-s.listener.workers }()
			s.answer(ctx, raw, n)
		})
	}
}

// next waits for a notification; nil where there will be none.
func next(raw syscall.RawConn) (n *notification, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		for {
			// Poll first: to receive can block, on kernels before 6.12 for ever.
			events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
			if _, err = unix.Poll(events, 0); err != nil {
				if errors.Is(err, unix.EINTR) {
					continue
				}
				return true
			}
			switch got := events[0].Revents; {
			case got&unix.POLLIN != 0:
				n, err = receive(int(fd))
				if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
					continue // its caller was killed, or a signal came
				}
				return true
			case got&unix.POLLHUP != 0:
				return true
			case got != 0:
				err = fmt.Errorf("poll the notify descriptor: events %#x", got)
				return true
			default:
				return false
			}
		}
	})
	if waitErr != nil {
		return nil, fmt.Errorf("wait for a notification: %w", waitErr)
	}
	return n, err
}

// answer decides about a notification and wakes its caller.
func (s *session) answer(ctx context.Context, raw syscall.RawConn, n *notification) {
	r := &resolver{proc: s.listener.proc, process: s.process, slow: &s.listener.slow, seen: &s.listener.seen, valid: func() (valid bool) {
		err := raw.Control(func(fd uintptr) { valid = idValid(int(fd), n.ID) })
		return err == nil && valid
	}}
	response, err := s.decide(ctx, r, n)
	if errors.Is(err, errStale) {
		return
	}
	controlErr := raw.Control(func(fd uintptr) { err = respond(int(fd), n.ID, response) })
	if controlErr != nil || errors.Is(err, unix.ENOENT) {
		return // closed, and the kernel has answered ENOSYS; or the caller was killed
	}
	if err == nil {
		for _, delivered := range r.delivered {
			delivered()
		}
	}
	if err != nil {
		s.listener.options.Report(fmt.Errorf("answer %s of process %d: %w", n.Syscall, n.TID, err))
	}
}

// decide is what the caller is to be told. The error is errStale, or nil.
func (s *session) decide(ctx context.Context, r *resolver, n *notification) (response, error) {
	w, known := lookup(n.Syscall)
	if !known {
		return response{errno: unix.ENOSYS}, nil // of no rule of ours
	}
	if answer, err := s.listener.residue.evaluate(n); err != nil || answer != nil {
		if err != nil {
			s.listener.options.Report(err)
			return Answer{}.response(), nil
		}
		return *answer, nil
	}
	if !w.concerns(n.Data.Args) {
		return response{carryOn: true}, nil // of ptrace: what comes only after an access that was decided about; another limit
	}
	return s.ask(ctx, r, n, w)
}

// ask has the Decider decide about whatever the call is about at the end of it.
func (s *session) ask(ctx context.Context, r *resolver, n *notification, w watched) (response, error) {
	var decided []Call
	for range attempts {
		calls, err := r.resolve(n, w)
		if err != nil {
			return unresolved(err)
		}
		if len(calls) == 0 || sameTargets(decided, calls) {
			return response{carryOn: true}, nil
		}
		for _, call := range calls {
			answer := s.decider.Decide(ctx, call)
			if answer.Delivered != nil {
				r.delivered = append(r.delivered, answer.Delivered)
			}
			if !answer.Continue {
				return answer.response(), nil
			}
		}
		decided = calls
	}
	return unresolved(errGone)
}

// unresolved is what the kernel itself says to a call at what is not there.
func unresolved(err error) (response, error) {
	switch {
	case errors.Is(err, errStale):
		return response{}, err
	case errors.Is(err, errNotPIDFD):
		return response{errno: unix.EBADF}, nil
	default:
		return response{errno: unix.ESRCH}, nil
	}
}

// attempts is how often a call is resolved: once to decide, once to see that what
// was decided about is still what the call is about, and again where it is not.
const attempts = 4

// sameTargets says that a decision about some calls holds for those that they are now.
func sameTargets(decided, now []Call) bool {
	return len(now) > 0 && slices.EqualFunc(decided, now, func(a, b Call) bool {
		return a.Actor == b.Actor && a.Target == b.Target && (a.Swappable || !b.Swappable)
	})
}

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

// session serves the notify descriptor of one process that the runtime started, and its
// descendants.
type session struct {
	listener *Listener
	file     *os.File
	process  int
	decider  Decider
}

func newSession(l *Listener, file *os.File, process int, decider Decider) *session {
	return &session{listener: l, file: file, process: process, decider: decider}
}

// serve returns when the last task with the filter is gone or the file is closed.
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
		// While all workers are busy, further notifications wait in the kernel, in order.
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

// next waits for a notification; it returns nil if there will be no more.
func next(raw syscall.RawConn) (n *notification, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		for {
			// Poll first: receiving can block, on kernels before 6.12 forever.
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
					continue // its caller was killed, or a signal arrived
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

// answer decides on a notification and wakes its caller.
func (s *session) answer(ctx context.Context, raw syscall.RawConn, n *notification) {
	r := &resolver{proc: s.listener.proc, process: s.process, sharesFiles: s.listener.options.SharesFiles, slow: &s.listener.slow, seen: &s.listener.seen, valid: func() (valid bool) {
		err := raw.Control(func(fd uintptr) { valid = idValid(int(fd), n.ID) })
		return err == nil && valid
	}}
	response, err := s.decide(ctx, r, n)
	if errors.Is(err, errStale) {
		return
	}
	controlErr := raw.Control(func(fd uintptr) { err = respond(int(fd), n.ID, response) })
	if controlErr != nil || errors.Is(err, unix.ENOENT) {
		return // either closed, and the kernel has answered ENOSYS; or the caller was killed
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

// decide returns the response for the caller. The error is errStale, or nil.
func (s *session) decide(ctx context.Context, r *resolver, n *notification) (response, error) {
	w, known := lookup(n.Syscall)
	if !known {
		return response{errno: unix.ENOSYS}, nil // not from one of our rules
	}
	if answer, err := s.listener.residue.evaluate(n); err != nil || answer != nil {
		if err != nil {
			s.listener.options.Report(err)
			return Answer{}.response(), nil
		}
		return *answer, nil
	}
	if !w.concerns(n.Data.Args) {
		return response{carryOn: true}, nil // a ptrace request that follows an access already decided on; or another limit
	}
	return s.ask(ctx, r, n, w)
}

// ask has the Decider decide, and repeats that until the decision is on what the call is still
// about.
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

// unresolved returns the kernel's own response to a call whose target does not exist.
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

// attempts is the maximum number of times that a call is resolved: once to decide, once to check
// that it is still about what was decided on, and again if it is not.
const attempts = 4

// sameTargets reports whether the decision on some calls also holds for what they resolve to now.
func sameTargets(decided, now []Call) bool {
	return len(now) > 0 && slices.EqualFunc(decided, now, func(a, b Call) bool {
		return a.Actor == b.Actor && a.Target == b.Target && (a.Swappable || !b.Swappable)
	})
}

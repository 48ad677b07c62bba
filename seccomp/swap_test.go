//go:build cgo

package seccomp

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestListenerSwapped replaces the pidfd by another process's, from another thread, while the
// Decider decides.
func TestListenerSwapped(t *testing.T) {
	for name, answer := range map[string]Answer{"allowed at first": {Continue: true}, "allowed each time": {Continue: true}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{})
			p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
			harmless, wanted := p.must("fork"), p.must("fork")
			theirs := p.host(wanted)
			fds := [2]int{p.must("n %d %d 0", unix.SYS_PIDFD_OPEN, harmless), p.must("n %d %d 0", unix.SYS_PIDFD_OPEN, wanted)}
			used := p.must("n %d %d", unix.SYS_DUP, fds[0])
			asked, swapped := make(chan Call), make(chan struct{})
			s.set(func(_ context.Context, call Call) Answer {
				asked <- call
				<-swapped
				if name == "allowed at first" && call.Target.PID == theirs {
					return Answer{}
				}
				return answer
			})
			p.must("b %d %d 0 0", unix.SYS_PIDFD_GETFD, used)
			rounds := 2
			if name == "allowed each time" {
				rounds = attempts // it keeps changing, so in the end the call fails
			}
			for round := range rounds {
				call := <-asked
				if !call.Swappable || (call.Target.PID == theirs) != (round%2 == 1) {
					t.Errorf("round %d: %+v, the other is %d", round, call, theirs)
				}
				p.must("n %d %d %d 0", unix.SYS_DUP3, fds[(round+1)%2], used)
				swapped <- struct{}{}
			}
			select {
			case call := <-asked:
				t.Errorf("asked once more: %+v", call)
				swapped <- struct{}{}
			case <-time.After(100 * time.Millisecond):
			}
		})
	}
}

// TestListenerProcessEnds checks that nothing is kept of a process whose last task is gone.
func TestListenerProcessEnds(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{})
	p.must("fork")
	if _, errno := p.say("n %d 16 1", unix.SYS_PTRACE); errno != unix.EPERM {
		t.Fatalf("%v, want EPERM", errno)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Before 6.11, it remains a task until it is reaped.
	_ = p.cmd.Wait()
	for deadline := time.Now().Add(time.Minute); ; {
		s.Listener.mu.Lock()
		n := len(s.closers)
		s.Listener.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files are still open", n)
		}
		<-time.After(5 * time.Millisecond)
	}
}

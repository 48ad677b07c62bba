//go:build cgo

package seccomp

import (
	"context"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// If a notify descriptor yields no more notifications, that is reported: its processes live on
// without answers.
func TestListenerEnds(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	notify := s.notifyFD(t)
	kept, err := unix.Dup(notify) // otherwise the kernel would report its end
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(int(null.Fd()), notify, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	p.send("n %d 16 1", unix.SYS_PTRACE)
	select {
	case err := <-s.ended:
		if !strings.Contains(err.Error(), "process 4711") {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("nobody is told")
	}
	if err := unix.Close(kept); err != nil {
		t.Fatal(err)
	}
	if _, errno := p.hear(); errno != unix.ENOSYS {
		t.Errorf("%v, want ENOSYS", errno)
	}
}

// Without a listener, the kernel lets a process add one of its own, which it then asks instead. The
// filter does not.
func TestListenerOfItsOwn(t *testing.T) {
	for name, profile := range map[string]*specs.LinuxSeccomp{"none": nil, "containerd's": runtimeDefault("CAP_SYS_PTRACE", "CAP_SYS_ADMIN")} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{})
			p := startProcess(t, s.path, processOptions{profile: profile})
			child := p.must("fork")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			<-s.done
			_, before := p.say("n %d %d %d", unix.SYS_PTRACE, unix.PTRACE_ATTACH, child)
			if before == 0 {
				t.Fatal("it may attach without a listener")
			}
			if _, errno := p.say("listen %d", unix.SYS_PTRACE); errno != unix.EBUSY {
				t.Errorf("a listener of its own: %v, want EBUSY", errno)
			}
			if _, errno := p.say("n %d %d %d", unix.SYS_PTRACE, unix.PTRACE_ATTACH, child); errno != before {
				t.Errorf("attach: %v, and %v before it had a listener of its own", errno, before)
			}
		})
	}
}

// notifyFD waits until a notify descriptor is open, and returns the number of that one.
func (s *served) notifyFD(t *testing.T) (number int) {
	t.Helper()
	for t.Context().Err() == nil {
		s.Listener.mu.Lock()
		for c := range s.closers {
			file, ok := c.(*os.File)
			if !ok {
				continue
			}
			raw, err := file.SyscallConn()
			if err == nil {
				err = raw.Control(func(fd uintptr) { number = int(fd) })
			}
			if err != nil {
				t.Error(err)
			}
		}
		s.Listener.mu.Unlock()
		if number != 0 {
			break
		}
		runtime.Gosched()
	}
	return number
}

// A connection that is accepted just as the Listener is closed does not leave anyone waiting.
func TestListenerClosesWhileItAccepts(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{})
	asked := make(chan struct{})
	s.set(func(ctx context.Context, _ Call) Answer {
		close(asked)
		<-ctx.Done()
		return Answer{}
	})
	p.send("n %d 16 1", unix.SYS_PTRACE)
	<-asked
	s.Listener.mu.Lock()
	s.closed = true
	for c := range s.closers {
		_ = c.Close()
	}
	clear(s.closers)
	s.Listener.mu.Unlock()
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		t.Error("Serve waits for who waits for it")
	}
	_ = s.socket.Close()
}

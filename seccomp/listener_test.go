//go:build cgo

package seccomp

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
)

// only returns the one Call that was asked; with Continue, too, a call is asked only once.
func (s *served) only(t *testing.T) Call {
	t.Helper()
	asked := s.calls()
	if len(asked) != 1 {
		t.Fatalf("asked %d times: %+v", len(asked), asked)
	}
	return asked[0]
}

// namespaces are the clone flags for a process in the test's pid namespace, and for one in its own.
func namespaces() map[string]uintptr {
	return map[string]uintptr{"host's pids": 0, "own pids": unix.CLONE_NEWPID}
}

func TestListenerNames(t *testing.T) {
	for name, flags := range namespaces() {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{})
			p := startProcess(t, s.path, processOptions{flags: flags})
			inside := p.must("fork")
			child := p.host(inside)
			self := p.must("n %d", unix.SYS_GETPID)
			fd := p.must("n %d %d 0", unix.SYS_PIDFD_OPEN, inside)
			for _, test := range []struct {
				line      string
				vector    access.Vector
				operation access.Operation
				request   string
				inside    int
				fd        bool
			}{
				{line: fmt.Sprintf("n %d %d", unix.SYS_PROCESS_VM_READV, inside), vector: access.VectorProcessVMReadv, operation: access.OperationRead, inside: inside},
				{line: fmt.Sprintf("n %d %d", unix.SYS_PROCESS_VM_WRITEV, inside), vector: access.VectorProcessVMWritev, operation: access.OperationWrite, inside: inside},
				// The kernel takes the pid as an int and ignores the bits above.
				{line: fmt.Sprintf("n %d %d", unix.SYS_PROCESS_VM_READV, uint64(0xabcd)<<32|uint64(inside)), vector: access.VectorProcessVMReadv, operation: access.OperationRead, inside: inside},
				{line: fmt.Sprintf("n %d 16 %d", unix.SYS_PTRACE, inside), vector: access.VectorPtrace, operation: access.OperationAttach, request: "PTRACE_ATTACH", inside: inside},
				{line: fmt.Sprintf("n %d %d %d", unix.SYS_PTRACE, 0x4206, inside), vector: access.VectorPtrace, operation: access.OperationAttach, request: "PTRACE_SEIZE", inside: inside},
				{line: fmt.Sprintf("n %d %d %d", unix.SYS_KCMP, self, inside), vector: access.VectorKcmp, operation: access.OperationInspect, inside: inside},
				{line: fmt.Sprintf("n %d %d %d", unix.SYS_KCMP, inside, self), vector: access.VectorKcmp, operation: access.OperationInspect, inside: inside},
				{line: fmt.Sprintf("n %d %d 0 0", unix.SYS_PIDFD_GETFD, fd), vector: access.VectorPidfdGetfd, operation: access.OperationAttach, fd: true},
				{line: fmt.Sprintf("n %d %d 0 0 4 0", unix.SYS_PROCESS_MADVISE, fd), vector: access.VectorProcessMadvise, operation: access.OperationInspect, fd: true},
			} {
				if result, errno := p.say("%s", test.line); errno != unix.EPERM {
					t.Errorf("%s: %d, %v; want EPERM", test.line, result, errno)
				}
				call := s.only(t)
				if call.Vector != test.vector || call.Operation != test.operation || call.Request != test.request || call.Syscall != test.vector.String() {
					t.Errorf("%s: %+v", test.line, call)
				}
				if call.Actor.PID != p.pid() || call.Actor.TID != p.pid() || call.Actor.Start == 0 {
					t.Errorf("%s: actor %+v, want %d", test.line, call.Actor, p.pid())
				}
				if call.Target.PID != child || call.Target.TID != child || call.Target.Start == 0 || call.TargetInside != test.inside {
					t.Errorf("%s: target %+v (inside %d), want %d", test.line, call.Target, call.TargetInside, child)
				}
				if call.Process != 4711 || call.Arch != HostArchitectures()[0] || call.Swappable {
					t.Errorf("%s: %+v", test.line, call)
				}
			}
			s.quiet(t)
		})
	}
}

func TestListenerThreads(t *testing.T) {
	for name, flags := range namespaces() {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{Errno: unix.EACCES})
			p := startProcess(t, s.path, processOptions{flags: flags})
			tid := p.must("thread")
			if _, errno := p.say("t %d %d", unix.SYS_PROCESS_VM_READV, tid); errno != unix.EACCES {
				t.Errorf("%v, want EACCES", errno)
			}
			call := s.only(t)
			if call.Actor.PID != p.pid() || call.Actor.TID == p.pid() || call.Target.PID != p.pid() || call.Target.TID == p.pid() || call.TargetInside != tid {
				t.Errorf("%+v, want a thread of %d at another", call, p.pid())
			}
			fd := p.must("n %d %d 0", unix.SYS_PIDFD_OPEN, p.must("fork"))
			if _, errno := p.say("n %d %d", unix.SYS_PIDFD_GETFD, fd); errno != unix.EACCES {
				t.Errorf("%v, want EACCES", errno)
			}
			if call := s.only(t); !call.Swappable {
				t.Errorf("%+v: another thread could exchange the pidfd", call)
			}
		})
	}
}

func TestListenerContinues(t *testing.T) {
	for name, flags := range namespaces() {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{Continue: true})
			p := startProcess(t, s.path, processOptions{flags: flags})
			child := p.must("fork")
			if result, errno := p.say("n %d %d %d 0", unix.SYS_PTRACE, 0x4206, child); result != 0 {
				t.Errorf("PTRACE_SEIZE: %d, %v", result, errno)
			}
			if call := s.only(t); call.Request != "PTRACE_SEIZE" {
				t.Errorf("%+v", call)
			}
			// Requests that follow an attach are not asked about: PTRACE_INTERRUPT, PEEKDATA,
			// DETACH.
			p.must("n %d %d %d 0", unix.SYS_PTRACE, 0x4207, child)
			p.must("n %d %d 0 0", unix.SYS_WAIT4, child)
			p.must("n %d 2 %d %d %d", unix.SYS_PTRACE, child, p.must("address"), p.must("address"))
			p.must("n %d 17 %d 0", unix.SYS_PTRACE, child)
			if asked := s.calls(); len(asked) != 0 {
				t.Errorf("asked about %+v", asked)
			}
			s.quiet(t)
		})
	}
}

func TestListenerTraceme(t *testing.T) {
	for name, flags := range namespaces() {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{Errno: unix.EPERM})
			p := startProcess(t, s.path, processOptions{flags: flags})
			if _, errno := p.say("c %d 0", unix.SYS_PTRACE); errno != unix.EPERM {
				t.Errorf("PTRACE_TRACEME: %v", errno)
			}
			call := s.only(t)
			if call.Request != "PTRACE_TRACEME" || call.Actor.PID != p.pid() || call.Target.PID == p.pid() || call.Target.PID == 0 || call.TargetInside == 0 {
				t.Errorf("%+v, want a child of %d", call, p.pid())
			}
		})
	}
}

func TestListenerTargetGone(t *testing.T) {
	for name, flags := range namespaces() {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ListenOptions{}, Answer{Continue: true})
			p := startProcess(t, s.path, processOptions{flags: flags})
			gone := p.must("fork")
			fd := p.must("n %d %d 0", unix.SYS_PIDFD_OPEN, gone)
			p.must("reap %d", gone)
			for _, line := range []string{
				fmt.Sprintf("n %d %d", unix.SYS_PROCESS_VM_READV, gone),
				fmt.Sprintf("n %d 16 %d", unix.SYS_PTRACE, gone),
				fmt.Sprintf("n %d 16 0", unix.SYS_PTRACE),
				fmt.Sprintf("n %d 16 %d", unix.SYS_PTRACE, uint64(0xffffffff)),
				fmt.Sprintf("n %d %d 0 0", unix.SYS_PIDFD_GETFD, fd),
				fmt.Sprintf("n %d 1 %d", unix.SYS_KCMP, gone),
			} {
				if _, errno := p.say("%s", line); errno != unix.ESRCH {
					t.Errorf("%s: %v, want ESRCH", line, errno)
				}
			}
			for _, bad := range []uint64{0, 999, ^uint64(0)} { // a pipe, an unused number, and -1
				if _, errno := p.say("n %d %d 0 0", unix.SYS_PIDFD_GETFD, bad); errno != unix.EBADF {
					t.Errorf("pidfd %d: %v, want EBADF", int64(bad), errno)
				}
			}
			if asked := s.calls(); len(asked) != 0 {
				t.Errorf("asked about %+v", asked)
			}

			// It dies while the answer is decided.
			dying := p.must("fork")
			host := p.host(dying)
			s.set(func(context.Context, Call) Answer {
				_ = unix.Kill(host, unix.SIGKILL)
				waitZombie(t, host)
				return Answer{Continue: true}
			})
			// A zombie still has a pid: the kernel decides what to do with that.
			if _, errno := p.say("n %d 16 %d", unix.SYS_PTRACE, dying); errno != unix.EPERM && errno != unix.ESRCH {
				t.Errorf("at a zombie: %v", errno)
			}
			s.quiet(t)
		})
	}
}

func waitZombie(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000); err != unix.EINTR {
			return
		}
	}
}

func TestListenerCallerGone(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{})
	child := p.must("fork")
	var delivered atomic.Int64
	count := func() { delivered.Add(1) }
	s.set(func(context.Context, Call) Answer { return Answer{Errno: unix.EPERM, Delivered: count} })
	for i := range int64(3) {
		if _, errno := p.say("n %d 16 %d", unix.SYS_PTRACE, child); errno != unix.EPERM {
			t.Fatal(errno)
		}
		// The caller continues a moment before it is counted.
		for delivered.Load() != i+1 {
			if t.Context().Err() != nil {
				t.Fatalf("%d answers were delivered, want %d", delivered.Load(), i+1)
			}
			runtime.Gosched()
		}
	}
	s.set(func(context.Context, Call) Answer {
		_ = p.cmd.Process.Kill()
		waitZombie(t, p.pid())
		return Answer{Continue: true, Delivered: count}
	})
	defer func() {
		if got := delivered.Load(); got != 3 {
			t.Errorf("%d answers were delivered, and the last one's caller was dead", got)
		}
	}()
	if _, errno := p.say("n %d 16 %d", unix.SYS_PTRACE, child); errno != unix.EPIPE {
		t.Errorf("%v, want the caller dead", errno)
	}
	s.quiet(t)
}

func TestListenerCloses(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{})
	child := p.must("fork")
	asked := make(chan struct{})
	s.set(func(ctx context.Context, _ Call) Answer {
		close(asked)
		<-ctx.Done()
		return Answer{Continue: true} // too late: the file is closed
	})
	p.send("n %d 16 %d", unix.SYS_PTRACE, child)
	<-asked
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, errno := p.hear(); errno != unix.ENOSYS {
		t.Errorf("waiting: %v, want ENOSYS", errno)
	}
	if _, errno := p.say("n %d 16 %d", unix.SYS_PTRACE, child); errno != unix.ENOSYS {
		t.Errorf("afterwards: %v, want ENOSYS", errno)
	}
	if err := s.Close(); err != nil {
		t.Error("a second Close:", err)
	}
}

func TestListenerManyAtOnce(t *testing.T) {
	const slow = 8
	s := serve(t, ListenOptions{Workers: slow + 1}, Answer{})
	p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	blocked, release := make(chan struct{}, slow), make(chan struct{})
	s.set(func(_ context.Context, call Call) Answer {
		if call.Vector == access.VectorKcmp {
			blocked <- struct{}{}
			<-release
		}
		return Answer{Errno: unix.EPERM}
	})
	child := p.must("fork")
	for range slow {
		p.must("b %d 1 %d", unix.SYS_KCMP, child)
	}
	for range slow {
		<-blocked
	}
	done := make(chan syscall.Errno, 1)
	go func() {
		_, errno := p.say("n %d %d", unix.SYS_PROCESS_VM_READV, child)
		done <- errno
	}()
	select {
	case errno := <-done:
		if errno != unix.EPERM {
			t.Errorf("%v, want EPERM", errno)
		}
	case <-time.After(time.Minute):
		t.Error("a call waits behind others")
	}
	close(release)
}

// TestListenerManyProcesses checks that quiet processes hold no worker.
func TestListenerManyProcesses(t *testing.T) {
	s := serve(t, ListenOptions{Workers: 1}, Answer{})
	list := make([]*process, 0, 6)
	for range cap(list) {
		list = append(list, startProcess(t, s.path, processOptions{}))
	}
	for _, p := range list {
		if _, errno := p.say("n %d 16 1", unix.SYS_PTRACE); errno != unix.EPERM {
			t.Errorf("%v, want EPERM", errno)
		}
		if call := s.only(t); call.Actor.PID != p.pid() || call.Target.PID != 1 {
			t.Errorf("%+v", call)
		}
	}
}

func TestListenerResidue(t *testing.T) {
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: HostArchitectures(), Syscalls: []specs.LinuxSyscall{
		fails(when(named(specs.ActErrno, "kcmp"), arg(2, specs.OpEqualTo, 3)), uint(unix.EXDEV)),
		fails(when(named(specs.ActErrno, "ptrace"), arg(0, specs.OpEqualTo, 16)), 0),
	}}
	_, left, err := Merge(profile, MergeOptions{Socket: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, ListenOptions{Residue: left}, Answer{Errno: unix.EUSERS})
	p := startProcess(t, s.path, processOptions{profile: profile})
	child := p.must("fork")
	for line, want := range map[string]syscall.Errno{
		fmt.Sprintf("n %d %d %d 3", unix.SYS_KCMP, child, child):  unix.EXDEV,
		fmt.Sprintf("n %d %d %d 2", unix.SYS_KCMP, child, child):  unix.EUSERS,
		fmt.Sprintf("n %d 16 %d", unix.SYS_PTRACE, child):         0, // like ERRNO(0): returns 0, and is not done
		fmt.Sprintf("n %d 17 %d", unix.SYS_PTRACE, child):         unix.ESRCH,
		fmt.Sprintf("n %d %d %d", unix.SYS_PTRACE, 0x4206, child): unix.EUSERS,
	} {
		if _, errno := p.say("%s", line); errno != want {
			t.Errorf("%s: %v, want %v", line, errno, want)
		}
	}
	s.quiet(t)
}

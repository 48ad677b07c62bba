package emulate

import (
	"errors"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ptraceAttach(s *striker) error {
	// Tracing is bound to a thread, not to a process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.at("ptrace(PTRACE_ATTACH)")
	if err := ptrace(unix.PTRACE_ATTACH, s.Victim.PID, 0, 0); err != nil {
		return named("ptrace(PTRACE_ATTACH)", err)
	}
	return s.peekStopped(unix.SIGSTOP)
}

// ptraceThread attaches to a thread of the victim other than its main thread.
func ptraceThread(s *striker) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread, err := s.lastThread()
	if err != nil {
		return err
	}
	s.at("ptrace(PTRACE_ATTACH)")
	if err := ptrace(unix.PTRACE_ATTACH, thread, 0, 0); err != nil {
		return named("ptrace(PTRACE_ATTACH)", err)
	}
	if err := stopped(thread, unix.SIGSTOP); err != nil {
		return err
	}
	return s.peek(thread)
}

// ptraceFromThread attaches from a thread other than this process's main thread.
func ptraceFromThread(s *striker) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- ptraceFromThread(s) // runs on another thread, because this goroutine is locked to the main one
			return
		}
		done <- ptraceAttach(s)
	}()
	return <-done
}

// ptracePoke attaches and writes.
func ptracePoke(s *striker) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid := s.Victim.PID
	s.at("ptrace(PTRACE_ATTACH)")
	if err := ptrace(unix.PTRACE_ATTACH, pid, 0, 0); err != nil {
		return named("ptrace(PTRACE_ATTACH)", err)
	}
	if err := stopped(pid, unix.SIGSTOP); err != nil {
		return err
	}
	s.at("ptrace(PTRACE_POKEDATA)")
	err := ptrace(unix.PTRACE_POKEDATA, pid, uintptr(s.word()), uintptr(s.Nonce))
	return errors.Join(named("ptrace(PTRACE_POKEDATA)", err), named("ptrace(PTRACE_DETACH)", ptrace(unix.PTRACE_DETACH, pid, 0, 0)))
}

func ptraceSeize(s *striker) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.at("ptrace(PTRACE_SEIZE)")
	if err := ptrace(unix.PTRACE_SEIZE, s.Victim.PID, 0, 0); err != nil {
		return named("ptrace(PTRACE_SEIZE)", err)
	}
	s.at("ptrace(PTRACE_INTERRUPT)")
	if err := ptrace(unix.PTRACE_INTERRUPT, s.Victim.PID, 0, 0); err != nil {
		return named("ptrace(PTRACE_INTERRUPT)", err)
	}
	return s.peekStopped(unix.SIGTRAP)
}

// ptraceTraceme starts a victim that asks to be traced, and lets it run until
// it has planted its secret.
func ptraceTraceme(s *striker) error { return s.peekChild(unix.PTRACE_O_TRACECLONE) }

// ptraceFork does the same with a child's child, which the kernel makes a tracee because its parent
// is one. The parent ends with the attempt, because the stop with which a thread's tracing begins
// may outlive the tracer.
func ptraceFork(s *striker) error {
	return s.peekChild(unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK|unix.PTRACE_O_TRACEVFORK|unix.PTRACE_O_EXITKILL, "--parent")
}

func (s *striker) peekChild(options uintptr, further ...string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.at("fork, ptrace(PTRACE_TRACEME)")
	announced, err := s.launchVictim(&syscall.SysProcAttr{Ptrace: true}, further...)
	if err != nil {
		return err
	}
	tracee, err := traceThreads(options)
	if err != nil {
		return err
	}
	// The tracer has to wait for the child's stops with wait4(2), which the channel cannot
	// interrupt, so it polls.
	ask := time.NewTicker(time.Millisecond)
	defer ask.Stop()
	for {
		select {
		case news := <-announced:
			if err := s.adopt(news); err != nil {
				return err
			}
			// Signal the thread: a signal to the process could be taken by any other thread, and
			// would stop all of them.
			if err := unix.Tgkill(news.victim.PID, news.victim.PID, unix.SIGSTOP); err != nil {
				return named("tgkill", err)
			}
			return s.peekStopped(unix.SIGSTOP)
		case <-ask.C:
			if err := s.passSignal(tracee); err != nil {
				return err
			}
		}
	}
}

// traceThreads waits for the first stop of a child that asked to be traced, which is its exec, and
// makes the kernel trace the threads that it starts: an exec by an untraced thread silently ends
// the tracing (de_thread in fs/exec.c).
func traceThreads(options uintptr) (int, error) {
	tracee, status, err := waitFor(-1)
	if err != nil {
		return 0, err
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, tracee, 0, options); err != nil {
		return 0, named("ptrace(PTRACE_SETOPTIONS)", err)
	}
	return tracee, resume(tracee, status)
}

// resume lets a stopped thread continue, with the signal that it stopped for. SIGTRAP is for the
// tracer only, and a new traced thread starts with a SIGSTOP, so these are not delivered.
func resume(tid int, status unix.WaitStatus) error {
	signal := status.StopSignal()
	if signal == unix.SIGTRAP || signal == unix.SIGSTOP {
		signal = 0
	}
	err := ptrace(unix.PTRACE_CONT, tid, 0, uintptr(signal))
	if errors.Is(err, unix.ESRCH) {
		return nil // killed in the meantime, as an exec does to a process's other threads
	}
	return named("ptrace(PTRACE_CONT)", err)
}

// peekStopped waits until the victim stops with the signal, reads the secret and detaches.
func (s *striker) peekStopped(by unix.Signal) error {
	if err := stopped(s.Victim.PID, by); err != nil {
		return err
	}
	return s.peek(s.Victim.PID)
}

// stopped waits until a tracee stops with the signal, and delivers other signals to it.
func stopped(tid int, by unix.Signal) error {
	for {
		_, status, err := waitFor(tid)
		if err != nil {
			return err
		}
		if !status.Stopped() {
			return errors.New("the victim ended under ptrace")
		}
		if status.StopSignal() == by {
			return nil
		}
		if err := resume(tid, status); err != nil {
			return err
		}
	}
}

// peek reads the secret from a stopped tracee and detaches.
func (s *striker) peek(tid int) error {
	s.at("ptrace(PTRACE_PEEKDATA)")
	into := s.secret()
	const size = unsafe.Sizeof(uintptr(0))
	for offset := uintptr(0); offset < secretLength; offset += size {
		//nolint:gosec // what a system call takes are addresses
		if err := ptrace(unix.PTRACE_PEEKDATA, tid, uintptr(s.Victim.Address)+offset, uintptr(unsafe.Pointer(&into[offset]))); err != nil {
			return errors.Join(named("ptrace(PTRACE_PEEKDATA)", err), ptrace(unix.PTRACE_DETACH, tid, 0, 0))
		}
	}
	return named("ptrace(PTRACE_DETACH)", ptrace(unix.PTRACE_DETACH, tid, 0, 0))
}

// ptrace is the raw system call. PEEKDATA stores through its last argument, so the kernel writes
// directly to the page that is shared with the judge.
func ptrace(request, pid int, address, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), address, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func waitFor(pid int) (int, unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return tid, status, named("wait4", err)
		}
	}
}

package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process that is waited for, and is nobody's child here.
type process struct {
	pid  int
	file *os.File // a pidfd
}

// openProcess opens a process that is there now. Whoever calls it knows that pid is still the one that is meant.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// A non-blocking file waits in the Go runtime's poller, and Close wakes whoever waits.
	return &process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// ended is closed once the process has ended, or ctx is done.
func (p *process) ended(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Now()) })
		defer stop()
		raw, err := p.file.SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Read(func(fd uintptr) bool {
			events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
			n, err := unix.Poll(events, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}()
	return done
}

// How long the status of a process that has ended is waited for: whoever reaps it has to do so first.
const (
	reapPatience = time.Second
	reapPoll     = 10 * time.Millisecond
)

// code is the exit code of a process that has ended, as a shell gives it; nil
// where the kernel does not tell it to others than the parent (before 6.15).
func (p *process) code(ctx context.Context) *int {
	ctx, cancel := context.WithTimeout(ctx, reapPatience)
	defer cancel()
	for {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		raw, err := p.file.SyscallConn()
		if err != nil {
			return nil
		}
		controlErr := raw.Control(func(fd uintptr) { err = unix.IoctlPidfdInfo(int(fd), &info) })
		if err := errors.Join(controlErr, err); err != nil {
			return nil
		}
		if info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			status := unix.WaitStatus(info.Exit_code) //nolint:gosec // wait(2)'s status, whatever its sign
			code := status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
			return &code
		}
		select {
		case <-time.After(reapPoll):
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *process) close() { _ = p.file.Close() }

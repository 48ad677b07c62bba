package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process to wait for that is not a child of this one.
type process struct {
	pid  int
	file *os.File // a pidfd
}

// openProcess opens a process that exists now. The caller must know that pid still refers to the
// intended process.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// A non-blocking file waits in the Go runtime's poller, and Close wakes its waiters.
	return &process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// ended returns a channel that is closed once the process has ended or ctx is done.
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

// How long to wait for the status of an ended process: its parent must reap it first.
const (
	reapPatience = time.Second
	reapPoll     = 10 * time.Millisecond
)

// code returns the exit code of an ended process, as a shell reports it, or nil if the kernel
// reports it only to the parent (before Linux 6.15).
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

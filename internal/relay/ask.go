package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoHost is returned if nobody is at the other end of a container's socket. A slow host is still
// there, and nobody else may release what it has.
var ErrNoHost = errors.New("the container's shim or monitor is gone")

// maxReply is the maximum size of an answer, in bytes.
const maxReply = 1 << 20

// ask sends text to the host's socket, and returns the first line of the answer. A hook's process does
// without package net, because it has to start fast.
func (h Host) ask(text []byte, deadline time.Time) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // what was to be said has been answered
	err = retry(fd, deadline, func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: h.Socket}) })
	if err != nil {
		return nil, err
	}
	if err := h.check(fd); err != nil {
		return nil, err
	}
	for len(text) > 0 {
		err := retry(fd, deadline, func() error {
			n, err := unix.Write(fd, text)
			text = text[max(n, 0):]
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	var answer []byte
	part := make([]byte, 4<<10)
	for {
		var n int
		err := retry(fd, deadline, func() (err error) {
			n, err = unix.Read(fd, part)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		answer = append(answer, part[:n]...)
		if end := bytes.IndexByte(answer, '\n'); end >= 0 {
			return answer[:end], nil
		}
		if len(answer) > maxReply {
			return nil, fmt.Errorf("the answer has more than %d bytes", maxReply)
		}
	}
}

// check returns an error if another process than the host listens: root in a container that has the
// folder of the socket mounted can put another socket there, and would say that the container is guarded.
func (h Host) check(fd int) error {
	if h.PID == 0 {
		return nil
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	if int(peer.Pid) != h.PID {
		return fmt.Errorf("%s is the socket of process %d, and the container's shim or monitor is process %d: find out who put it there", h.Socket, peer.Pid, h.PID)
	}
	return nil
}

// retry makes a system call on a socket that waits until the deadline at most, and makes it again if a
// signal interrupts it. After the deadline, the error is EAGAIN.
func retry(fd int, deadline time.Time, call func() error) error {
	for {
		left := time.Until(deadline)
		if left < time.Microsecond { // a timeout of zero is none
			return unix.EAGAIN
		}
		timeout := unix.NsecToTimeval(left.Nanoseconds())
		for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} { // socket(7); the first is connect's, too
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &timeout); err != nil {
				return err
			}
		}
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// untold returns an error that says why a host did not answer. It wraps ErrNoHost if the host is gone.
func untold(err error) error {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, io.ErrUnexpectedEOF} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: %w", ErrNoHost, err)
		}
	}
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("the container's shim or monitor runs but does not answer, check the node's disk and load and try again: %w", err)
	}
	return fmt.Errorf("tell the container's shim or monitor: %w", err)
}

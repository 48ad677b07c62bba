package emulate

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func control(fd int, request uintptr, argument unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	if errno != 0 {
		return errno
	}
	return nil
}

// userfaultfdGetfd duplicates the victim's userfaultfd, and fills the absent page.
func userfaultfdGetfd(s *striker) error {
	if s.Victim.UserFD == 0 {
		return fmt.Errorf("the victim %d has no userfaultfd: %w", s.Victim.PID, unix.ENOSYS)
	}
	fd, err := s.getfd(s.Victim.UserFD)
	if err != nil {
		return err
	}
	return errors.Join(s.fillPage(fd), unix.Close(fd))
}

// userfaultfdReceived receives the userfaultfd from the victim, as the process that fills its pages
// does.
func userfaultfdReceived(s *striker) error {
	if s.Victim.UserFD == 0 {
		return fmt.Errorf("the victim %d has no userfaultfd: %w", s.Victim.PID, unix.ENOSYS)
	}
	path := filepath.Join(procDir(s.Victim.PID), "root", pagerSocket(s.Victim.Address))
	s.at("connect " + path)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return named("socket", err)
	}
	if err := unix.Connect(socket, &unix.SockaddrUnix{Name: path}); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = unix.ENOSYS // the victim has no /dev/shm for the socket
		}
		return errors.Join(named("connect", err), unix.Close(socket))
	}
	s.at("receive the descriptor")
	fd, err := receive(socket)
	if err != nil {
		return errors.Join(err, unix.Close(socket))
	}
	return errors.Join(s.fillPage(fd), unix.Close(fd), unix.Close(socket))
}

// fillPage puts the nonce into the victim's absent page.
func (s *striker) fillPage(fd int) error {
	content := make([]byte, pageLength)
	copy(content[wordOffset:], s.payload())
	request := struct {
		to, from, length, mode uint64
		copied                 int64
	}{to: s.Victim.Address + absentOffset, from: uint64(uintptr(unsafe.Pointer(&content[0]))), length: pageLength} //nolint:gosec // what a system call takes are addresses
	s.at("UFFDIO_COPY")
	err := control(fd, faultCopy, unsafe.Pointer(&request)) //nolint:gosec // what a system call takes are addresses
	runtime.KeepAlive(content)
	return named("UFFDIO_COPY", err)
}

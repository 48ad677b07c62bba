package emulate

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memIOUringEnded makes io_uring read the file when this process ends. An operation that waits for
// another ring is then cancelled, and the read that is linked to it is still performed, by a task
// that no signal reaches any more. The page that is shared with the judge outlives this process.
func memIOUringEnded(s *striker) error {
	path := memPath(s.Victim.PID)
	s.at("open " + path)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // O_NONBLOCK: otherwise, a worker thread performs the read
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.atOwn("io_uring_setup")
	never, err := newRing(1)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	r, err := newRing(2)
	if err != nil {
		return errors.Join(err, never.close(), unix.Close(fd))
	}
	into := s.secret()
	r.queue(
		submission{operation: ringPollAdd, flags: ringHardLink, fd: int32(never.fd), how: unix.POLLIN}, //nolint:gosec // a descriptor is an int in the kernel
		submission{
			operation: ringRead, fd: int32(fd), offset: s.Victim.Address, //nolint:gosec // a descriptor is an int in the kernel
			address: uint64(uintptr(unsafe.Pointer(&into[0]))), length: secretLength, //nolint:gosec // the kernel takes addresses
		})
	s.at("exit_group")
	runtime.LockOSThread() // the thread whose requests are to be finished must be the one that ends the process
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 2, 0, 0, 0, 0); errno != 0 {
		return errors.Join(named("io_uring_enter", errno), r.close(), never.close(), unix.Close(fd))
	}
	unix.Exit(0)
	return nil
}

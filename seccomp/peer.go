package seccomp

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// fromRoot returns an error unless the peer is root.
func fromRoot(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the peer: %w", err)
	}
	var peer *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return fmt.Errorf("look at the peer: %w", err)
	}
	if peer.Uid != 0 {
		return fmt.Errorf("process %d of user %d connected: only root may do that", peer.Pid, peer.Uid)
	}
	return nil
}

// notifyFile returns a copy of file that is set up for the Go runtime's poller, if it is a seccomp
// notify descriptor. It closes file.
func notifyFile(file *os.File) (*os.File, error) {
	defer func() { _ = file.Close() }()
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return nil, fmt.Errorf("look at the notify descriptor: %w", err)
	}
	if link != "anon_inode:seccomp notify" {
		return nil, fmt.Errorf("the runtime sent %q in place of a seccomp notify descriptor", link)
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the notify descriptor: %w", err)
	}
	// A non-blocking file waits in the Go runtime's poller: no thread is held while a container is
	// quiet, and Close wakes all waiters.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make the notify descriptor non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), "seccomp notify"), nil
}

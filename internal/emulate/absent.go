package emulate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Constants of include/uapi/linux/userfaultfd.h; they are the same on all architectures.
const (
	userModeOnly    = 1 // UFFD_USER_MODE_ONLY: does not need CAP_SYS_PTRACE
	faultAPI        = 0xaa
	faultInit       = 0xc018aa3f // UFFDIO_API
	faultRegister   = 0xc020aa00 // UFFDIO_REGISTER
	faultCopy       = 0xc028aa03 // UFFDIO_COPY
	registerMissing = 1
)

// newUserfaultfd returns a new userfaultfd, or 0 if this kernel does not offer one.
func newUserfaultfd(flags int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, uintptr(userModeOnly|flags), 0, 0)
	switch {
	case errno == unix.ENOSYS || errno == unix.EPERM:
		return 0, nil // EPERM comes from a seccomp profile
	case errno != 0:
		return 0, named("userfaultfd", errno)
	default:
		return int(fd), nil
	}
}

// absentPage is a page of the victim's address space that is not populated: whoever has the
// userfaultfd supplies its content. A listener hands the userfaultfd to anyone who connects.
type absentPage struct {
	page     []byte
	listener *net.UnixListener
}

// pagerSocket returns the path of the socket where a victim with its secret at address hands out
// its userfaultfd.
func pagerSocket(address uint64) string {
	return filepath.Join(sharedMemory, fmt.Sprintf("shimward-pager-%x", address))
}

func newAbsentPage(ctx context.Context, victim Victim) (*absentPage, error) {
	fd, err := newUserfaultfd(unix.O_CLOEXEC)
	if err == nil && fd == 0 {
		err = named("userfaultfd", unix.ENOSYS)
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Dup3(fd, victim.UserFD, unix.O_CLOEXEC), unix.Close(fd)); err != nil {
		return nil, named("dup3", err)
	}
	where, err := unix.MmapPtr(-1, 0, unsafe.Add(nil, victim.Address+absentOffset), pageLength,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE)
	if err != nil {
		return nil, named("mapping the absent page", err)
	}
	api := struct{ api, features, ioctls uint64 }{api: faultAPI}
	if err := control(victim.UserFD, faultInit, unsafe.Pointer(&api)); err != nil { //nolint:gosec // what a system call takes are addresses
		return nil, named("UFFDIO_API", err)
	}
	register := struct{ start, length, mode, ioctls uint64 }{start: victim.Address + absentOffset, length: pageLength, mode: registerMissing}
	if err := control(victim.UserFD, faultRegister, unsafe.Pointer(&register)); err != nil { //nolint:gosec // what a system call takes are addresses
		return nil, named("UFFDIO_REGISTER", err)
	}
	a := &absentPage{page: unsafe.Slice((*byte)(where), pageLength)} //nolint:gosec // that long it has been mapped
	return a, a.offer(ctx, victim)
}

func (a *absentPage) offer(ctx context.Context, victim Victim) error {
	if !hasSharedMemory() {
		return nil
	}
	path := pagerSocket(victim.Address)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("offering the userfaultfd: %w", err)
	}
	a.listener = listener.(*net.UnixListener)
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // whoever asks is to have it
		return errors.Join(err, listener.Close())
	}
	go func() {
		for {
			connection, err := a.listener.AcceptUnix()
			if err != nil {
				return // closed
			}
			_, _, _ = connection.WriteMsgUnix([]byte{0}, unix.UnixRights(victim.UserFD), nil)
			_ = connection.Close()
		}
	}()
	return nil
}

func (a *absentPage) close() {
	if a.listener != nil {
		_ = a.listener.Close()
	}
}

// take copies the word of a page that somebody has filled to the victim's word, and drops the page
// again. It checks with mincore(2) first, because reading an absent page would block until somebody
// fills it.
func (a *absentPage) take(word []byte) error {
	if a == nil {
		return nil
	}
	var there byte
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&a.page[0])), pageLength, uintptr(unsafe.Pointer(&there))) //nolint:gosec // what a system call takes are addresses
	if errno != 0 {
		return named("mincore", errno)
	}
	if there&1 == 0 {
		return nil
	}
	copy(word, a.page[wordOffset:wordOffset+len(word)])
	return named("madvise", unix.Madvise(a.page, unix.MADV_DONTNEED))
}

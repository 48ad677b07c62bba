package emulate

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func processVMReadv(s *striker) error {
	into := s.secret()
	s.at("process_vm_readv")
	_, err := unix.ProcessVMReadv(s.Victim.PID,
		[]unix.Iovec{{Base: &into[0], Len: secretLength}},
		[]unix.RemoteIovec{{Base: uintptr(s.Victim.Address), Len: secretLength}}, 0)
	return named("process_vm_readv", err)
}

func processVMWritev(s *striker) error {
	from := s.payload()
	s.at("process_vm_writev")
	_, err := unix.ProcessVMWritev(s.Victim.PID,
		[]unix.Iovec{{Base: &from[0], Len: uint64(len(from))}},
		[]unix.RemoteIovec{{Base: uintptr(s.word()), Len: len(from)}}, 0)
	return named("process_vm_writev", err)
}

func pidfdGetfd(s *striker) error { return s.readTaken(s.Victim.MemFD) }

// pidfdGetfdShm reads memory shared with shm_open(3) through pidfd_getfd.
func pidfdGetfdShm(s *striker) error {
	if s.Victim.ShmFD == 0 {
		return fmt.Errorf("the victim %d has no shared memory: %w", s.Victim.PID, unix.ENOSYS)
	}
	return s.readTaken(s.Victim.ShmFD)
}

// memGetfd duplicates the victim's descriptor of its own mem file. The kernel checks nothing when
// that is used.
func memGetfd(s *striker) error {
	if s.Victim.OwnMem == 0 {
		return fmt.Errorf("the victim %d has no mem file open: %w", s.Victim.PID, unix.ENOSYS)
	}
	fd, err := s.getfd(s.Victim.OwnMem)
	if err != nil {
		return err
	}
	return errors.Join(s.readMem(fd), unix.Close(fd))
}

func (s *striker) readTaken(number int) error {
	fd, err := s.getfd(number)
	if err != nil {
		return err
	}
	s.at("read")
	_, err = unix.Pread(fd, s.secret(), 0)
	return errors.Join(named("read", err), unix.Close(fd))
}

// getfd duplicates a descriptor of the victim's.
func (s *striker) getfd(number int) (int, error) {
	s.at("pidfd_open")
	pidfd, err := unix.PidfdOpen(s.Victim.PID, 0)
	if err != nil {
		return -1, named("pidfd_open", err)
	}
	s.at("pidfd_getfd")
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return -1, errors.Join(named("pidfd_getfd", err), unix.Close(pidfd))
	}
	return fd, unix.Close(pidfd)
}

func processMadvise(s *striker) error {
	s.at("pidfd_open")
	pidfd, err := unix.PidfdOpen(s.Victim.PID, 0)
	if err != nil {
		return named("pidfd_open", err)
	}
	page := unix.RemoteIovec{Base: uintptr(s.Victim.Address), Len: pageLength}
	s.at("process_madvise")
	//nolint:gosec // what a system call takes are addresses
	_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&page)), 1, unix.MADV_COLD, 0, 0)
	return errors.Join(result("process_madvise", errno), unix.Close(pidfd))
}

// kcmpVM is KCMP_VM of linux/kcmp.h.
const kcmpVM = 1

func kcmp(s *striker) error {
	s.at("kcmp")
	_, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(unix.Getpid()), uintptr(s.Victim.PID), kcmpVM, 0, 0, 0)
	return result("kcmp", errno)
}

// robustList asks for the address of a thread's robust futex list, whose futexes the kernel
// releases when the thread dies.
func robustList(s *striker) error {
	var head, length uintptr
	s.at("get_robust_list")
	//nolint:gosec // what a system call takes are addresses
	_, _, errno := unix.Syscall(unix.SYS_GET_ROBUST_LIST, uintptr(s.Victim.PID), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&length)))
	return result("get_robust_list", errno)
}

func result(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return named(call, errno)
}

func named(call string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", call, err)
}

// withoutSignals calls do on a thread with all signals blocked: Go's scheduler sends signals, and
// they interrupt some calls.
func withoutSignals(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = math.MaxUint64
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return named("pthread_sigmask", err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) //nolint:errcheck // what was taken back can be set
	return do()
}

package emulate

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring (include/uapi/linux/io_uring.h).
type ring struct {
	fd      int
	params  ringParams
	rings   []byte // the heads and tails, and the completion queue
	entries []byte // the submission queue entries
}

type ringParams struct {
	entries, completions, flags, cpu, idle, features, queue uint32
	_                                                       [3]uint32
	submit                                                  struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	complete struct {
		head, tail, mask, entries, overflow, entry, flags, _ uint32
		_                                                    uint64
	}
}

// submission is the part of an entry that is used here.
type submission struct {
	operation, flags uint8
	priority         uint16
	fd               int32
	offset, address  uint64
	length, how      uint32
}

const (
	ringPollAdd        = 6
	ringOpenat         = 18
	ringRead           = 22
	ringEntrySize      = 64
	ringResultSize     = 16
	ringGetEvents      = 1
	ringHardLink       = 1 << 3 // IOSQE_IO_HARDLINK
	ringOffsetEntries  = 0x10000000
	ringFeatSingleMmap = 1
	ringTries          = 100
)

func newRing(entries uint32) (_ *ring, err error) {
	r := &ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&r.params)), 0) //nolint:gosec // what a system call takes are addresses
	if errno != 0 {
		return nil, named("io_uring_setup", errno)
	}
	r.fd = int(fd)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.params.features&ringFeatSingleMmap == 0 {
		return nil, fmt.Errorf("io_uring before Linux 5.4: %w", unix.ENOSYS)
	}
	length := max(r.params.complete.entry+r.params.completions*ringResultSize, r.params.submit.array+4*r.params.entries)
	if r.rings, err = unix.Mmap(r.fd, 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, named("mmap", err)
	}
	r.entries, err = unix.Mmap(r.fd, ringOffsetEntries, int(r.params.entries*ringEntrySize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return r, named("mmap", err)
}

// do submits one operation, waits for it and returns its result. A cancelled operation is submitted
// again. Nobody here cancels, but the kernel does when it cannot create the worker thread. Any
// signal to the caller can cause that (io_uring/io-wq.c, create_worker_cont), and Go's runtime
// sends its threads signals all the time.
func (r *ring) do(s submission) (int, error) {
	for again := 0; ; again++ {
		n, err := r.once(s)
		if again == ringTries || !errors.Is(err, unix.ECANCELED) {
			return n, err
		}
	}
}

func (r *ring) once(s submission) (int, error) {
	r.queue(s)
	head := atomic.LoadUint32(r.word(r.params.complete.head))
	// A signal ends the wait, and the call still returns how many entries were submitted.
	for left := uintptr(1); atomic.LoadUint32(r.word(r.params.complete.tail)) == head; {
		n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), left, 1, ringGetEvents, 0, 0)
		switch errno {
		case 0:
			left -= min(left, n)
		case unix.EINTR:
		default:
			return 0, named("io_uring_enter", errno)
		}
	}
	at := r.params.complete.entry + head%r.params.completions*ringResultSize
	result := int32(*r.word(at + 8)) //nolint:gosec // an errno is negative
	atomic.AddUint32(r.word(r.params.complete.head), 1)
	if result < 0 {
		return 0, unix.Errno(-result)
	}
	return int(result), nil
}

// queue adds operations to the submission queue.
func (r *ring) queue(list ...submission) {
	clear(r.entries)
	for i, s := range list {
		*(*submission)(unsafe.Pointer(&r.entries[i*ringEntrySize])) = s //nolint:gosec // the kernel's own layout
		*r.word(r.params.submit.array + 4*uint32(i)) = uint32(i)
	}
	atomic.AddUint32(r.word(r.params.submit.tail), uint32(len(list))) //nolint:gosec // as many as the ring has room for
}

func (r *ring) word(at uint32) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.rings[at])) //nolint:gosec // the kernel says where
}

func (r *ring) close() error {
	var errs []error
	for _, mapped := range [][]byte{r.rings, r.entries} {
		if mapped != nil {
			errs = append(errs, unix.Munmap(mapped))
		}
	}
	return errors.Join(append(errs, unix.Close(r.fd))...)
}

// memIOUring opens and reads the file without an open or read system call.
func memIOUring(s *striker) error {
	s.atOwn("io_uring_setup")
	r, err := newRing(1)
	if err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(memPath(s.Victim.PID))
	if err != nil {
		return errors.Join(err, r.close())
	}
	s.at("IORING_OP_OPENAT")
	fd, err := r.do(submission{
		operation: ringOpenat, fd: unix.AT_FDCWD, address: uint64(uintptr(unsafe.Pointer(path))), how: unix.O_RDONLY | unix.O_CLOEXEC, //nolint:gosec // the kernel takes addresses
	})
	runtime.KeepAlive(path)
	if err != nil {
		return errors.Join(named("IORING_OP_OPENAT", err), r.close())
	}
	s.at("IORING_OP_READ")
	into := s.secret()
	_, err = r.do(submission{
		operation: ringRead, fd: int32(fd), offset: s.Victim.Address, //nolint:gosec // a descriptor is an int in the kernel
		address: uint64(uintptr(unsafe.Pointer(&into[0]))), length: secretLength, //nolint:gosec // the kernel takes addresses
	})
	return errors.Join(named("IORING_OP_READ", err), unix.Close(fd), r.close())
}

package seccomp

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ioctls on a pid namespace's file, include/uapi/linux/nsfs.h: _IO(0xb7, 0x2) and _IOR(0xb7, 0x6,
// int). The numbers are the same on every architecture that encodes ioctls as asm-generic does,
// among them amd64 and arm64.
const (
	nsGetParent       = 0xb702
	nsGetPIDFromPIDNS = 0x8004b706 // Linux 6.11
)

// errNoIoctl says that this kernel does not translate pids.
var errNoIoctl = errors.New("this kernel does not translate pids")

// translate returns this process's pid for a pid in the pid namespace open as ns, or 0 if the task
// is not visible from here. The error wraps errGone if there is no such task, and errNoIoctl if the
// kernel has no such ioctl.
func translate(ns *os.File, inside int) (int, error) {
	pid, _, errno := unix.Syscall(unix.SYS_IOCTL, ns.Fd(), nsGetPIDFromPIDNS, uintptr(inside))
	switch errno {
	case 0:
		return int(pid), nil
	case unix.ESRCH:
		return 0, fmt.Errorf("pid %d: %w", inside, errGone)
	case unix.ENOTTY:
		return 0, errNoIoctl
	default:
		return 0, fmt.Errorf("translate pid %d: %w", inside, errno)
	}
}

// namespace opens the pid namespace that a task is in. It avoids os.Open, which would check whether
// the file can be polled.
func (p procfs) namespace(tid int) (*os.File, error) {
	path := p.path(tid, "ns", "pid")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// scan searches proc for a task whose pid in the namespace ns, depth levels below proc's own, is
// inside. It is the fallback for kernels without the ioctl. Process leaders are checked first,
// since nearly every pid asked for is one.
func (p procfs) scan(ns *os.File, depth, inside int) (int, error) {
	leaders, err := pids(string(p))
	if err != nil {
		return 0, err
	}
	for _, pid := range leaders {
		if p.is(ns, depth, inside, pid) {
			return pid, nil
		}
	}
	for _, pid := range leaders {
		tids, err := pids(p.path(pid, "task"))
		if err != nil {
			continue // it ended
		}
		for _, tid := range tids {
			if p.is(ns, depth, inside, tid) {
				return tid, nil
			}
		}
	}
	return 0, fmt.Errorf("pid %d: %w", inside, errGone)
}

// is reports whether the task tid has the pid inside in the namespace ns.
func (p procfs) is(ns *os.File, depth, inside, tid int) bool {
	s, err := p.status(tid)
	if err != nil || len(s.inside) <= depth || s.inside[depth] != inside {
		return false
	}
	own, err := p.namespace(tid)
	if err != nil {
		return false
	}
	defer func() { _ = own.Close() }()
	// The task may be in a nested namespace.
	for up := len(s.inside) - 1 - depth; up > 0; up-- {
		fd, err := unix.IoctlRetInt(int(own.Fd()), nsGetParent)
		if err != nil {
			return false
		}
		_ = own.Close()
		own = os.NewFile(uintptr(fd), "pid namespace")
	}
	return sameFile(ns, own)
}

// seen remembers which task had a pid in a namespace, so that a caller that asks for the same one
// repeatedly does not cause a scan of all of proc each time. The pid may belong to another task by
// now: an answer is a guess, to be checked with procfs.is.
type seen struct {
	mu    sync.Mutex
	tasks map[place]int // guarded by mu
}

// place is a pid in a pid namespace.
type place struct {
	device, inode uint64
	pid           int
}

// maxSeen is the maximum number of tasks that are remembered.
const maxSeen = 256

func placeOf(ns *os.File, pid int) (place, bool) {
	var stat unix.Stat_t
	err := unix.Fstat(int(ns.Fd()), &stat)
	return place{stat.Dev, stat.Ino, pid}, err == nil
}

// find returns the task that last had that pid, or 0 if none is known.
func (s *seen) find(ns *os.File, pid int) int {
	at, ok := placeOf(ns, pid)
	if !ok {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[at]
}

func (s *seen) keep(ns *os.File, pid, tid int) {
	at, ok := placeOf(ns, pid)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks == nil || len(s.tasks) >= maxSeen {
		s.tasks = map[place]int{}
	}
	s.tasks[at] = tid
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// pids returns the numeric names in a directory.
func pids(directory string) ([]int, error) {
	d, err := os.Open(directory) //nolint:gosec // a folder of proc
	if err != nil {
		return nil, gone("list tasks", err)
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	var numbers []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

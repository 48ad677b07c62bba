package seccomp

import (
	"golang.org/x/sys/unix"
)

// kcmpFiles is KCMP_FILES of include/uapi/linux/kcmp.h: compare the descriptor tables.
const kcmpFiles = 2

// sharesFiles reports whether another task has the same descriptor table as tid (clone's
// CLONE_FILES), and so could replace a descriptor while tid waits in a system call. If that cannot
// be determined, it returns true.
func (p procfs) sharesFiles(tid int) bool {
	leaders, err := pids(string(p))
	if err != nil {
		return true
	}
	for _, leader := range leaders {
		if leader == 1 {
			continue // the host's init shares with nobody, and kcmp may not be allowed on it
		}
		tids, err := pids(p.path(leader, "task"))
		if err != nil {
			continue // it ended, and no longer shares anything
		}
		for _, other := range tids {
			if other == tid {
				continue
			}
			order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(tid), uintptr(other), kcmpFiles, 0, 0, 0)
			switch {
			case errno == unix.ESRCH:
				continue
			case errno != 0, order == 0:
				return true
			}
		}
	}
	return false
}

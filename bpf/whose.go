package bpf

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Guard is what a process was put under guard with.
type Guard struct {
	Cgroup  uint64 // the id of its container's cgroup; 0: the process has no guard
	Foreign bool   // it came by the cgroup alone: somebody privileged moved it in there
	// Of a foreign one, what came so, it or an ancestor: its pid, and when it began, in ns since boot.
	Origin      int
	OriginStart uint64
}

// GuardOf returns the guard of a process, as this process's pid namespace numbers
// it. Unlike the cgroup that it is in, nobody in a container can change that.
func (n *Node) GuardOf(pid int) (Guard, error) {
	guard, err := n.guardOf(pid)
	if guard.Foreign == 0 {
		return Guard{Cgroup: guard.Cgroup}, err
	}
	return Guard{Cgroup: guard.Cgroup, Foreign: true, Origin: int(guard.Origin), OriginStart: guard.OriginStart}, err
}

// guardOf is zero where the process has none.
func (n *Node) guardOf(pid int) (guard kernelGuard, err error) {
	guards, err := n.pinned(mapGuards)
	if err != nil {
		return guard, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return guard, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	err = guards.Lookup(int32(pidfd), &guard) //nolint:gosec // a descriptor is no more than an int32
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return guard, fmt.Errorf("look the guard of process %d up: %w", pid, err)
	}
	return guard, nil
}

// Poses tells whether a process with a guard says that it runs another executable
// than it execed (PR_SET_MM_MAP): to the programs, it then runs none that is known.
func (n *Node) Poses(pid int) (bool, error) {
	guard, err := n.guardOf(pid)
	if err != nil || guard.Cgroup == 0 {
		return false, err
	}
	found, err := n.executable(pid)
	return err == nil && (found.Inode != guard.ExeInode || found.Device != guard.ExeDevice), err
}

// executable is the file that a process says that it runs.
func (n *Node) executable(pid int) (kernelLearnedFile, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return kernelLearnedFile{}, fmt.Errorf("open the executable of process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	found := kernelLearnedFile{Fd: uint32(fd)} //nolint:gosec // a descriptor is no more than an int32
	return found, n.run(programLearnFile, &found)
}

package bpf

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Guard says how a process came under guard.
type Guard struct {
	Cgroup  uint64 // id of its container's cgroup; 0: the process has no guard
	Foreign bool   // only its cgroup ties it to the container: a privileged process moved it there
	// If Foreign, the process that was moved in, which is this one or an ancestor: its pid, and its
	// start time in ns since boot.
	Origin      int
	OriginStart uint64
}

// GuardOf returns the guard of a process, by its pid in this process's pid namespace. Unlike the
// process's cgroup, nothing in a container can change it.
func (n *Node) GuardOf(pid int) (Guard, error) {
	guard, err := n.guardOf(pid)
	if guard.Foreign == 0 {
		return Guard{Cgroup: guard.Cgroup}, err
	}
	return Guard{Cgroup: guard.Cgroup, Foreign: true, Origin: int(guard.Origin), OriginStart: guard.OriginStart}, err
}

// guardOf returns the zero value if the process has no guard.
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

// Poses reports whether a guarded process claims to run another executable than the one it execed
// (PR_SET_MM_MAP). To the programs, it then runs no known executable.
func (n *Node) Poses(pid int) (bool, error) {
	guard, err := n.guardOf(pid)
	if err != nil || guard.Cgroup == 0 {
		return false, err
	}
	found, err := n.executable(pid)
	return err == nil && (found.Inode != guard.ExeInode || found.Device != guard.ExeDevice), err
}

// executable returns the file that a process claims to run.
func (n *Node) executable(pid int) (kernelLearnedFile, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return kernelLearnedFile{}, fmt.Errorf("open the executable of process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	found := kernelLearnedFile{Fd: uint32(fd)} //nolint:gosec // a descriptor is no more than an int32
	return found, n.run(programLearnFile, &found)
}

// SharesFiles reports whether another task has the same descriptor table as the task tid (clone's
// CLONE_FILES), and so could replace a descriptor while that one waits in a system call.
func (n *Node) SharesFiles(tid int) (bool, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(tid), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("open task %d: %w", tid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	table := kernelLearnedTable{Fd: uint32(fd)} //nolint:gosec // a descriptor is no more than an int32
	if err := n.run(programLearnTable, &table); err != nil {
		return false, fmt.Errorf("look at the descriptor table of task %d: %w", tid, err)
	}
	return table.Users != 1, nil
}

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// GuardOf returns the id of the cgroup that a process, as this process's pid
// namespace numbers it, was put under guard with; 0: it has no guard. Unlike the
// cgroup that it is in, nobody in a container can change that.
func (n *Node) GuardOf(pid int) (cgroup uint64, err error) {
	guards, err := n.pinned(mapGuards)
	if err != nil {
		return 0, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	var guard kernelGuard
	err = guards.Lookup(int32(pidfd), &guard) //nolint:gosec // a descriptor is no more than an int32
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look the guard of process %d up: %w", pid, err)
	}
	return guard.Cgroup, nil
}

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Guard is what a process was put under guard with.
type Guard struct {
	Cgroup  uint64 // the id of its container's cgroup; 0: the process has no guard
	Foreign bool   // it came by the cgroup alone: somebody privileged moved it in there
}

// GuardOf returns the guard of a process, as this process's pid namespace numbers
// it. Unlike the cgroup that it is in, nobody in a container can change that.
func (n *Node) GuardOf(pid int) (Guard, error) {
	guards, err := n.pinned(mapGuards)
	if err != nil {
		return Guard{}, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Guard{}, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	var guard kernelGuard
	err = guards.Lookup(int32(pidfd), &guard) //nolint:gosec // a descriptor is no more than an int32
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Guard{}, nil
	}
	if err != nil {
		return Guard{}, fmt.Errorf("look the guard of process %d up: %w", pid, err)
	}
	return Guard{Cgroup: guard.Cgroup, Foreign: guard.Foreign != 0}, nil
}

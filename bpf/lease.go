package bpf

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Leased is the file that a lease is bound to.
type Leased struct {
	Inode  uint64
	Device uint64
}

// Lease lets an executable of a container that runs do what a rule refuses,
// until a moment that is counted from boot (CLOCK_BOOTTIME): the programs
// themselves look at the clock. path is one in the container's own mount
// namespace, as its init sees it now; pod says that it is for processes of the
// pod's other containers, and not for the container's. A lease of the same
// file that there is already ends with this one.
func (n *Node) Lease(key, path string, pod bool, until time.Duration) (Leased, error) {
	id, err := n.cgroup(key)
	if err != nil {
		return Leased{}, err
	}
	root, err := n.openRoot(id)
	if err != nil {
		return Leased{}, err
	}
	defer func() { _ = unix.Close(root) }()
	found, err := n.inspect(root, path)
	if err != nil {
		return Leased{}, fmt.Errorf("allow %s: %w", path, err)
	}
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return Leased{}, err
	}
	file := Leased{Inode: found.Inode, Device: found.Device}
	err = grants.Put(file.key(id), kernelGrant{
		CtimeSec: found.CtimeSec, CtimeNsec: found.CtimeNsec, Scope: scopeOf(pod), Until: uint64(until), //nolint:gosec // not negative
	})
	if err != nil {
		return Leased{}, fmt.Errorf("allow %s: %w", path, err)
	}
	return file, nil
}

// EndLease takes a lease back. It is no error if there is none.
func (n *Node) EndLease(key string, file Leased) error {
	id, err := n.cgroup(key)
	if err != nil {
		return err
	}
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return err
	}
	return ignoreMissing(grants.Delete(file.key(id)))
}

// HasLease tells whether a process, as this process's pid namespace numbers it,
// runs an executable that has a lease at processes of its container or, with pod,
// of the pod's others: what the programs tell, for what they do not see.
func (n *Node) HasLease(key string, pid int, pod bool) (bool, error) {
	id, err := n.cgroup(key)
	if err != nil {
		return false, err
	}
	found, err := n.executable(pid)
	if err != nil {
		return false, err
	}
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return false, err
	}
	var grant kernelGrant
	if err := grants.Lookup(Leased{Inode: found.Inode, Device: found.Device}.key(id), &grant); err != nil {
		return false, ignoreMissing(err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return false, fmt.Errorf("read the clock: %w", err)
	}
	return grant.Scope&scopeOf(pod) != 0 && grant.CtimeSec == found.CtimeSec && grant.CtimeNsec == found.CtimeNsec &&
		uint64(now.Nano()) < grant.Until, nil //nolint:gosec // time since boot
}

func scopeOf(pod bool) uint32 {
	if pod {
		return uint32(kernelScopeSCOPE_POD)
	}
	return uint32(kernelScopeSCOPE_CONTAINER)
}

func (f Leased) key(cgroup uint64) kernelExecutable {
	return kernelExecutable{Cgroup: cgroup, Inode: f.Inode, Device: f.Device, Purpose: uint64(kernelPurposePURPOSE_LEASE)}
}

// openRoot opens the root of a container's init, which lives as long as the container runs.
func (n *Node) openRoot(id uint64) (int, error) {
	containers, err := n.pinned(mapContainers)
	if err != nil {
		return -1, err
	}
	var container kernelContainer
	if err := containers.Lookup(id, &container); err != nil {
		return -1, fmt.Errorf("look the container up: %w", notExist(err))
	}
	init := int(container.Init)
	root, err := unix.Open("/proc/"+strconv.Itoa(init)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the root of the container's init, process %d: %w", init, err)
	}
	// The pid may be another's by now: a guard says whose it is.
	if guard, err := n.GuardOf(init); err != nil || guard.Cgroup != id {
		_ = unix.Close(root)
		return -1, fmt.Errorf("the container's init, process %d, has ended: %w", init, os.ErrNotExist)
	}
	return root, nil
}

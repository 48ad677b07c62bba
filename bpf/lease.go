package bpf

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Leased identifies the file that a lease is bound to.
type Leased struct {
	Inode  uint64
	Device uint64
}

// Lease allows an executable of a running container what a rule refuses, until a time since boot
// (CLOCK_BOOTTIME), which the programs themselves check. path is in the container's mount
// namespace, as its init sees it now. If pod is true the lease covers processes of the pod's other
// containers instead of the container's own. It replaces an existing lease of the same file.
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

// EndLease removes a lease. It is not an error if there is none.
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

// HasLease reports whether a process, by its pid in this process's pid namespace, runs an
// executable with a lease for processes of its container or, if pod is true, of the pod's other
// containers. It gives the programs' answer for accesses that they do not see.
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

// openRoot opens the root directory of a container's init, which lives as long as the container
// runs.
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
	// The pid may have been reused: the guard shows whose process it is.
	if guard, err := n.GuardOf(init); err != nil || guard.Cgroup != id {
		_ = unix.Close(root)
		return -1, fmt.Errorf("the container's init, process %d, has ended: %w", init, os.ErrNotExist)
	}
	return root, nil
}

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// grant allows the plan's executables, as they are in rootfs at this moment.
func (n *Node) grant(plan *policy.Plan, id uint64, rootfs string) error {
	scopes := make(map[string]uint32)
	for _, path := range plan.Allow {
		scopes[path] |= uint32(kernelScopeSCOPE_CONTAINER)
	}
	for _, path := range plan.AllowPod {
		scopes[path] |= uint32(kernelScopeSCOPE_POD)
	}
	if len(scopes) == 0 {
		return nil
	}
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return err
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root %s: %w", rootfs, err)
	}
	defer func() { _ = unix.Close(root) }()
	for path, scope := range scopes {
		found, err := n.inspect(root, path)
		if err != nil {
			return fmt.Errorf("allow %s: %w", path, err)
		}
		key := kernelExecutable{Cgroup: id, Inode: found.Inode, Device: found.Device}
		value := kernelGrant{CtimeSec: found.CtimeSec, CtimeNsec: found.CtimeNsec, Scope: scope}
		var former kernelGrant
		if grants.Lookup(key, &former) == nil {
			value.Scope |= former.Scope // two names of one file
		}
		if err := grants.Put(key, value); err != nil {
			return fmt.Errorf("allow %s: %w", path, err)
		}
	}
	return nil
}

// inspect asks the kernel for the inode of an executable. Its links are followed within the container's root.
func (n *Node) inspect(root int, path string) (kernelLearnedFile, error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return kernelLearnedFile{}, errors.New("there is no such file in the image: the annotation names the executable " +
			"itself by its absolute path in the container")
	}
	if err != nil {
		return kernelLearnedFile{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return kernelLearnedFile{}, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Mode&0o111 == 0 {
		return kernelLearnedFile{}, errors.New("it is no executable file")
	}
	found := kernelLearnedFile{Fd: uint32(fd)} //nolint:gosec // a descriptor is no more than an int32
	return found, n.run(programLearnFile, &found)
}

// revoke takes back what a plan granted in the container of that cgroup. Leases stay.
func (n *Node) revoke(id uint64) error {
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return err
	}
	return deleteGrants(grants, func(key kernelExecutable) bool { return key.Cgroup == id && key.Lease == 0 })
}

func deleteGrants(grants *ebpf.Map, which func(kernelExecutable) bool) error {
	var (
		key   kernelExecutable
		value kernelGrant
		mine  []kernelExecutable
	)
	entries := grants.Iterate()
	for entries.Next(&key, &value) {
		if which(key) {
			mine = append(mine, key)
		}
	}
	errs := []error{entries.Err()}
	for i := range mine {
		errs = append(errs, ignoreMissing(grants.Delete(mine[i])))
	}
	return errors.Join(errs...)
}

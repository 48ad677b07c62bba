package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// grant records the plan's executables as they are in its rootfs now: those that it allows and
// those that its rules name.
func (n *Node) grant(plan *policy.Plan, id uint64) error {
	scopes := make(map[string]uint32)
	for _, path := range plan.Allow {
		scopes[path] |= uint32(kernelScopeSCOPE_CONTAINER)
	}
	for _, path := range plan.AllowPod {
		scopes[path] |= uint32(kernelScopeSCOPE_POD)
	}
	ruled := plan.RuleFiles()
	if len(scopes)+len(ruled) == 0 {
		return nil
	}
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return err
	}
	root, err := unix.Open(plan.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root %s: %w", plan.Rootfs, err)
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
	for path, fits := range ruled {
		if err := n.noteRuled(grants, id, root, path, fits); err != nil {
			return fmt.Errorf("the rules' executable %s: %w", path, err)
		}
	}
	return nil
}

// noteRuled records which rules name an executable. A profile serves many images, so a path that is
// no executable in this one is ignored.
func (n *Node) noteRuled(grants *ebpf.Map, id uint64, root int, path string, fits policy.Fits) error {
	found, err := n.inspect(root, path)
	if errors.Is(err, errNoExecutable) {
		return nil
	}
	if err != nil {
		return err
	}
	key := kernelExecutable{Cgroup: id, Inode: found.Inode, Device: found.Device, Purpose: uint64(kernelPurposePURPOSE_RULES)}
	value := kernelGrant{CtimeSec: found.CtimeSec, CtimeNsec: found.CtimeNsec, Actors: uint32(fits.Actor), Targets: uint32(fits.Target)}
	var former kernelGrant
	if grants.Lookup(key, &former) == nil { // two names of one file
		value.Actors |= former.Actors
		value.Targets |= former.Targets
	}
	return grants.Put(key, value)
}

// errNoExecutable means that a path does not lead to an executable file.
var errNoExecutable = errors.New("the annotation, or the profile, names the executable itself by its absolute path in the container")

// openTries is the maximum number of attempts that OpenInRoot makes.
const openTries = 128

// OpenInRoot opens a path with O_PATH as seen by the container whose root directory is open as
// root. Symbolic links are resolved within that root. If the path or a link in it contains "..",
// the kernel fails with EAGAIN whenever anything on the node is mounted or renamed at that moment
// (openat2(2)); OpenInRoot then tries again, up to openTries times.
func OpenInRoot(root int, path string) (int, error) {
	for tries := 1; ; tries++ {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if tries == openTries || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// inspect asks the kernel for the inode of an executable. Symbolic links are resolved within the
// container's root. The error wraps errNoExecutable if there is no such executable.
func (n *Node) inspect(root int, path string) (kernelLearnedFile, error) {
	fd, err := OpenInRoot(root, path)
	if errors.Is(err, unix.ENOENT) {
		return kernelLearnedFile{}, fmt.Errorf("there is no such file in the image: %w", errNoExecutable)
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
		return kernelLearnedFile{}, fmt.Errorf("it is no executable file: %w", errNoExecutable)
	}
	found := kernelLearnedFile{Fd: uint32(fd)} //nolint:gosec // a descriptor is no more than an int32
	return found, n.run(programLearnFile, &found)
}

// revoke removes the grants of a plan in the container with that cgroup. Leases stay.
func (n *Node) revoke(id uint64) error {
	grants, err := n.pinned(mapGrants)
	if err != nil {
		return err
	}
	return deleteGrants(grants, func(key kernelExecutable) bool {
		return key.Cgroup == id && key.Purpose != uint64(kernelPurposePURPOSE_LEASE)
	})
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

package shim

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
)

// grant is an executable that the plan allows, as it was when the container was
// created: replacing or editing it voids the grant. The programs have the same
// for what they see; this is for what only the listener sees.
type grant struct {
	device, inode uint64
	changed       syscall.Timespec
}

func grantOf(info os.FileInfo) (grant, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return grant{}, false
	}
	return grant{device: uint64(stat.Dev), inode: stat.Ino, changed: stat.Ctim}, true //nolint:unconvert,nolintlint // Dev's type depends on the architecture
}

// findGrants looks executables up in a container's root, following links within
// it. One that is not there is not granted: the hook has said so already.
func findGrants(rootfs string, paths []string) map[grant]bool {
	if len(paths) == 0 {
		return nil
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(root) //nolint:errcheck // opened for looking up
	found := map[grant]bool{}
	for _, path := range paths {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(fd), path)
		if info, err := f.Stat(); err == nil {
			if g, ok := grantOf(info); ok {
				found[g] = true
			}
		}
		f.Close() //nolint:errcheck,gosec // opened for looking at
	}
	return found
}

// excepted tells whether a process runs an executable that the plan allows at
// a target of that relation.
func (c *container) excepted(pid int, relation access.Relation) bool {
	grants := c.allow
	if relation == access.RelationSamePod {
		grants = c.allowPod
	}
	if len(grants) == 0 {
		return false
	}
	info, err := c.proc.exeID(pid)
	if err != nil {
		return false
	}
	g, ok := grantOf(info)
	return ok && grants[g]
}

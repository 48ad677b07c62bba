package shim

import (
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/policy"
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

// except is the decision on an access that a rule refuses, with the plan's
// exceptions and those that somebody made since for a time.
func (c *container) except(actor int, relation access.Relation, refused policy.Decision) policy.Decision {
	if c.excepted(actor, relation) {
		if decision, ok := c.plan.Except(relation); ok {
			return decision
		}
	}
	if !guarded.HasLeases(c.plan.Paths, c.plan.Identity.Key) {
		return refused
	}
	leased, err := c.kernel.HasLease(actor, relation == access.RelationSamePod)
	if err != nil || !leased {
		return refused // what cannot be told is not allowed
	}
	decision, ok := c.plan.Lease(relation, c.whyLeased(c.proc.exe(actor)))
	if !ok {
		return refused
	}
	return decision
}

// whyLeased is the reason that was given for a lease of that executable.
func (c *container) whyLeased(exe string) string {
	leases, err := guarded.Leases(c.plan.Paths, c.plan.Identity.Key, time.Now())
	if err != nil {
		return "" // the lease is the kernel's, the reason is for people
	}
	for _, lease := range leases {
		if lease.Exe == exe || len(leases) == 1 {
			return lease.Why
		}
	}
	return ""
}

// voided says that an actor's executable has the path of one that the plan
// allows there, and is not the file that was allowed: it was changed or
// replaced, or another is mounted over it.
func (c *container) voided(exe string, relation access.Relation, decision policy.Decision) string {
	if decision.Action != policy.ActionRefuse || exe == "" {
		return ""
	}
	allowed := c.plan.Allow
	if relation == access.RelationSamePod {
		allowed = c.plan.AllowPod
	} else if relation > access.RelationSamePod {
		return ""
	}
	if !slices.Contains(allowed, exe) {
		return ""
	}
	return "void: " + exe + " is not the file that was allowed when the container was made"
}

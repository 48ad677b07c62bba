package container

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// grant identifies an executable that the plan allows, as it was when the container was created:
// replacing or editing it voids the grant. The programs have the same for what they see; this is
// for what only the listener sees.
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

// findGrants looks up executables in a container's root, following links within it, and calls found
// for each. An executable that does not exist is not granted: the hook has reported that already.
func findGrants(rootfs string, paths []string, found func(path, resolved string, file grant)) {
	if len(paths) == 0 {
		return
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root) //nolint:errcheck // opened for looking up
	for _, path := range paths {
		fd, err := bpf.OpenInRoot(root, path)
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(fd), path)
		if info, err := f.Stat(); err == nil {
			if g, ok := grantOf(info); ok {
				found(path, within(root, fd), g)
			}
		}
		f.Close() //nolint:errcheck,gosec // opened for looking at
	}
}

// within returns the absolute path, without any link in it, of an open file in an open root, or ""
// if it cannot be determined.
func within(root, fd int) string {
	name := func(fd int) string {
		path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return ""
		}
		return path
	}
	path, ok := strings.CutPrefix(name(fd), strings.TrimSuffix(name(root), "/")+"/")
	if !ok {
		return ""
	}
	return "/" + path
}

// findAllowed returns the executables of a list as a set.
func findAllowed(rootfs string, paths []string) map[grant]bool {
	allowed := map[grant]bool{}
	findGrants(rootfs, paths, func(_, _ string, file grant) { allowed[file] = true })
	return allowed
}

// findAliases maps the paths of executables, as procfs shows them, to the plan's names for them, if
// the plan names them by a link.
func findAliases(rootfs string, plan *policy.Plan) map[string]string {
	aliases := map[string]string{}
	named := slices.Concat(plan.Allow, plan.AllowPod, slices.Collect(maps.Keys(plan.RuleFiles())))
	findGrants(rootfs, named, func(path, resolved string, _ grant) {
		if path != resolved {
			aliases[resolved] = path
		}
	})
	return aliases
}

// findRuled maps the executables that the plan's own rules name to the rules that name them.
func findRuled(rootfs string, plan *policy.Plan) map[grant]policy.Fits {
	ruled, files := map[grant]policy.Fits{}, plan.RuleFiles()
	findGrants(rootfs, slices.Collect(maps.Keys(files)), func(path, _ string, file grant) {
		fits := ruled[file] // two names may refer to one file
		fits.Actor |= files[path].Actor
		fits.Target |= files[path].Target
		ruled[file] = fits
	})
	return ruled
}

// parties returns what the plan's own rules ask about the two sides of a call.
func (c *Container) parties(call seccomp.Call, actor, target side) policy.Parties {
	if len(c.plan.Rule) == 0 {
		return policy.Parties{}
	}
	var p policy.Parties
	// The thread's user: in the kernel, each thread has its own.
	status, err := c.proc.status(call.Actor.TID)
	p.UID, p.ActorUnknown = status.uid, err != nil
	if len(c.ruled) == 0 {
		return p
	}
	fits, err := c.ruledAs(actor.pid)
	p.Actor, p.ActorUnknown = fits.Actor, p.ActorUnknown || err != nil
	fits, err = c.ruledAs(target.pid)
	p.Target, p.TargetUnknown = fits.Target, err != nil
	return p
}

// ruledAs returns which of the plan's own rules name a process's executable.
func (c *Container) ruledAs(pid int) (policy.Fits, error) {
	if poses, err := c.kernel.Poses(pid); err != nil || poses {
		return policy.Fits{}, err
	}
	info, err := c.proc.exeIDPromptly(pid)
	if err != nil {
		return policy.Fits{}, err
	}
	file, ok := grantOf(info)
	if !ok {
		return policy.Fits{}, nil
	}
	return c.ruled[file], nil
}

// excepted reports whether a process runs an executable that the plan allows to access targets of
// that relation.
func (c *Container) excepted(pid int, relation access.Relation) bool {
	grants := c.allow
	if relation == access.RelationSamePod {
		grants = c.allowPod
	}
	if len(grants) == 0 {
		return false
	}
	info, err := c.proc.exeIDPromptly(pid)
	if err != nil {
		return false
	}
	g, ok := grantOf(info)
	return ok && grants[g]
}

// except returns the decision on an access that a rule refuses, given the plan's exceptions and
// those that were made for a limited time since (leases).
func (c *Container) except(actor int, relation access.Relation, refused policy.Decision) policy.Decision {
	leases := guarded.HasLeases(c.plan.Paths, c.plan.Identity.Key)
	if !leases && len(c.allow) == 0 && len(c.allowPod) == 0 {
		return refused
	}
	if poses, err := c.kernel.Poses(actor); err != nil || poses {
		return refused // what cannot be determined is not allowed
	}
	if c.excepted(actor, relation) {
		if decision, ok := c.plan.Except(relation); ok {
			return decision
		}
	}
	if !leases {
		return refused
	}
	leased, err := c.kernel.HasLease(actor, relation == access.RelationSamePod)
	if err != nil || !leased {
		return refused
	}
	decision, ok := c.plan.Lease(relation, c.whyLeased(c.proc.exe(actor)))
	if !ok {
		return refused
	}
	return decision
}

// whyLeased returns the reason that was given for an executable's lease.
func (c *Container) whyLeased(exe string) string {
	now, err := guarded.Now()
	if err != nil {
		return "" // the lease is the kernel's; the reason is for people
	}
	leases, err := guarded.Leases(c.plan.Paths, c.plan.Identity.Key, now)
	if err != nil {
		return "" // see above
	}
	for _, lease := range leases {
		if lease.Exe == exe || len(leases) == 1 {
			return lease.Why
		}
	}
	return ""
}

// named returns the plan's name for an executable.
func (c *Container) named(exe string) string {
	if alias, ok := c.aliases[exe]; ok {
		return alias
	}
	return exe
}

// voided returns why a refused access has no exception, if an executable has the path of one that
// the plan allows to do this, but is not the file that was there when the container was created: it
// was changed or replaced, or something is mounted over it. This may be the actor's executable or
// the target's. Otherwise, voided returns "".
func (c *Container) voided(exe, target string, uid int, deed policy.Deed) string {
	const void = "void: %s is not the file that was there when the container was created, which %s"
	allowed := c.plan.Allow
	if deed.Relation == access.RelationSamePod {
		allowed = c.plan.AllowPod
	} else if deed.Relation > access.RelationSamePod {
		allowed = nil
	}
	exe, target = c.named(exe), c.named(target)
	if exe != "" && slices.Contains(allowed, exe) {
		return fmt.Sprintf(void, exe, "was allowed")
	}
	files := c.plan.RuleFiles()
	named := c.plan.First(deed, policy.Parties{UID: uid, Actor: files[exe].Actor, Target: files[target].Target})
	if named == 0 || named == deed.Rule || c.plan.Rule[named-1].Action != policy.ActionObserve {
		return ""
	}
	if files[exe].Actor.Has(named - 1) {
		return fmt.Sprintf(void, exe, "the rule "+c.plan.Rule[named-1].Name+" is for")
	}
	return fmt.Sprintf(void, target, "the rule "+c.plan.Rule[named-1].Name+" is for")
}

package container

import (
	"os"
	"slices"
	"syscall"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/procfile"
)

// side is a process as one side of an access, with the container that it belongs to.
type side struct {
	pid   int
	owner *member   // its guarded container; nil if it is in none
	own   bool      // whether it belongs to this container
	guard bpf.Guard // zero if it has none
}

// sideOf determines which container a process belongs to. It uses the process's guard and not the
// cgroup that it is in, because a privileged container can move others' processes into its own
// cgroup, and its own out of it. A process without a guard belongs to this container if its lineage
// leads to a process that the runtime started here, and otherwise to none.
func (c *Container) sideOf(pid int) side {
	s := side{pid: pid}
	if pid <= 0 {
		return s
	}
	guard, err := c.kernel.GuardOf(pid)
	if err != nil || guard.Cgroup == 0 {
		s.own = c.origins.above(c.proc.lineage(pid)).pid != 0
		return s
	}
	s.guard = guard
	if one, ok := c.members.byID(guard.Cgroup); ok {
		s.owner, s.own = &one, one.plan.Identity.Key == c.plan.Identity.Key
	}
	return s
}

// relate returns what target is to actor, at least one of which is this container's. It answers the
// same question as the kernel programs (bpf/include), from what proc shows.
func (c *Container) relate(actor, target side) access.Relation {
	switch {
	case target.pid <= 0:
		return access.RelationHost // it cannot be identified: the strictest relation
	case actor.pid == target.pid:
		return access.RelationSelf
	case actor.own && target.own && strangers(actor.guard, target.guard):
		return access.RelationOtherContainer
	case actor.own && target.own:
		if slices.Contains(c.proc.ancestors(target.pid), actor.pid) {
			return access.RelationChild
		}
		return access.RelationSameContainer
	}
	stranger := target
	if target.own {
		stranger = actor // inbound: the rule is about the actor
	}
	switch {
	case stranger.owner == nil && !c.contained(stranger.pid):
		return access.RelationHost
	case stranger.owner == nil:
		return access.RelationOtherContainer
	case c.samePod(stranger.owner):
		return access.RelationSamePod
	default:
		return access.RelationOtherContainer
	}
}

// strangers reports whether two processes of one cgroup nevertheless do not belong to one
// container. Two foreign processes belong together if they came into the cgroup together.
func strangers(one, other bpf.Guard) bool {
	if !one.Foreign || !other.Foreign {
		return one.Foreign != other.Foreign
	}
	return one != other
}

// samePod reports whether a container is in this one's pod.
func (c *Container) samePod(one *member) bool {
	mine, its := &c.plan.Identity, &one.plan.Identity
	return mine.Sandbox != "" && mine.Sandbox == its.Sandbox && mine.Namespace == its.Namespace
}

// contained reports whether a process that is in no guarded container seems to be in another
// container: it is in another pid or cgroup namespace than the shim, or has another root in another
// mount namespace. If a namespace cannot be read, it is taken to be the host's.
func (c *Container) contained(pid int) bool {
	self := os.Getpid()
	differs := func(name string) bool {
		its, err := os.Readlink(c.proc.path(pid, name))
		if err != nil {
			return false
		}
		mine, err := os.Readlink(c.proc.path(self, name))
		return err == nil && its != mine
	}
	if differs("ns/pid") || differs("ns/cgroup") {
		return true
	}
	return differs("ns/mnt") && device(c.proc.path(pid, "root")) != device(c.proc.path(self, "root"))
}

// device returns the number of the file system that path is on, or 0 if that cannot be read, or not
// promptly.
func device(path string) uint64 {
	return procfile.Promptly(func() uint64 { return statDevice(path) })
}

func statDevice(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(stat.Dev) //nolint:unconvert,nolintlint // its type depends on the architecture
}

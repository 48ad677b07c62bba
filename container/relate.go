package container

import (
	"os"
	"slices"
	"syscall"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/procfile"
)

// side is a process as one side of an access: whose it is.
type side struct {
	pid   int
	owner *member   // its guarded container; nil if it is in none
	own   bool      // that container is this one
	guard bpf.Guard // zero: it has none
}

// sideOf finds whose a process is. Its guard tells, and not the cgroup that it is
// in: a privileged container moves others' processes into its own, and its own out
// of it. One without a guard is this container's if its ancestors tell so, and
// otherwise nobody's.
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

// relate says what target is to actor, of which at least one is this
// container's. It is the kernel programs' answer to the same question
// (bpf/include), from what proc shows.
func (c *Container) relate(actor, target side) access.Relation {
	switch {
	case target.pid <= 0:
		return access.RelationHost // nobody that can be told: the strictest
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
		stranger = actor // inbound: the rule is about who reaches in
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

// strangers tells whether two processes of one cgroup are none of one container all
// the same. Of two that are foreign there, those who came together are.
func strangers(one, other bpf.Guard) bool {
	if !one.Foreign || !other.Foreign {
		return one.Foreign != other.Foreign
	}
	return one != other
}

// samePod tells whether a container is of this one's pod.
func (c *Container) samePod(one *member) bool {
	mine, its := &c.plan.Identity, &one.plan.Identity
	return mine.Sandbox != "" && mine.Sandbox == its.Sandbox && mine.Namespace == its.Namespace
}

// contained tells whether a process in no guarded container looks as if it were
// in another: it is in another pid or cgroup namespace than the shim, or under
// another root in another mount namespace. What cannot be read is taken for the host's.
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

// device is the number of the file system that path is on; 0 if that cannot be told, or not soon.
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

package bpf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// A privileged process moves another one into the container's cgroup. The latter is guarded from
// its next exec on, but does not become a neighbor of the former.
func TestForeign(t *testing.T) {
	node := newNode(t)
	rules := allRefused()
	rules.SameContainer, rules.Child = policy.ActionObserve, policy.ActionObserve
	c := newContainer(t, node, plan("moves", policy.ModeEnforce, rules))
	neighbour := meet(c.run("victim"))
	moved := meet(start(t, nil, nil, "moved", c.cgroup, "victim"))
	outside := meet(c.join("escape", testenv.Cgroup2(t), "victim"))
	another := start(t, nil, nil, "moved", c.cgroup, "vm-read", moved.pid, moved.address)
	c.stopped(another) // they were not moved in together
	c.expect(want{target: moved.number(), verdict: node.stopVerdict(), relation: access.RelationOtherContainer})
	gotIt(t, start(t, nil, nil, "moved", c.cgroup, "child"))
	for name, test := range map[string]struct {
		victim  *victim
		foreign bool
	}{
		"a neighbour":             {victim: neighbour},
		"a neighbour that left":   {victim: outside},
		"one that was moved here": {victim: moved, foreign: true},
	} {
		t.Run(name, func(t *testing.T) {
			if guard, err := node.GuardOf(test.victim.number()); err != nil || guard.Cgroup == 0 || guard.Foreign != test.foreign {
				t.Errorf("its guard is %+v, %v", guard, err)
			}
			for _, attack := range []string{"mem-read", "vm-read"} {
				p := c.join(attack, test.victim.pid, test.victim.address)
				w := want{target: test.victim.number(), verdict: access.VerdictObserved, relation: access.RelationSameContainer}
				if test.foreign {
					w.verdict, w.relation = node.stopVerdict(), access.RelationOtherContainer
					c.stopped(p)
				} else {
					gotIt(t, p)
				}
				c.expect(w)
			}
		})
	}
}

// playMoved moves into a cgroup, under another root and in a mount namespace of its own, and then
// execs the rest.
func playMoved(cgroup string, args []string) int {
	runtime.LockOSThread() // the namespace is this thread's
	if err := os.WriteFile(cgroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fail(err)
	}
	if err := anotherRoot(); err != nil {
		return fail(err)
	}
	return fail(syscall.Exec("/proc/self/exe", append([]string{"moved"}, args...), os.Environ()))
}

// anotherRoot changes this process's root to a tmpfs with everything of the former one mounted on
// it.
func anotherRoot() error {
	const dir = "/mnt"
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return err
	}
	if err := errors.Join(
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", dir, "tmpfs", 0, ""),
	); err != nil {
		return err
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		from, to := filepath.Join("/", entry.Name()), filepath.Join(dir, entry.Name())
		switch {
		case from == dir:
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(from)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				return err
			}
		case entry.IsDir():
			if err := errors.Join(os.Mkdir(to, 0o755), unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")); err != nil {
				return err
			}
		}
	}
	return errors.Join(unix.Chroot(dir), unix.Chdir("/"))
}

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

func TestGuardIsInherited(t *testing.T) {
	node := sharedNode(t)
	victim := newVictim(t, nil)
	root := testenv.Cgroup2(t)
	c := newContainer(t, node, plan("inherit", policy.ModeEnforce, allRefused()))
	init := c.run("sleep")
	init.expect("asleep")
	nested := filepath.Join(c.cgroup, "nested")
	if err := os.Mkdir(nested, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string][]string{
		"by a child":               {"fork", "vm-read"},
		"by a grandchild":          {"fork", "fork", "vm-read"},
		"out of the cgroup":        {"escape", root, "vm-read"},
		"by a child out of it":     {"escape", root, "fork", "vm-read"},
		"into a cgroup below":      {"escape", nested, "vm-read"},
		"after a thread's exec":    {"thread-exec", "vm-read"},
		"after another exec":       {"exec", "/proc/self/exe", "vm-read"},
		"by a mem file, out of it": {"escape", root, "mem-read"},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.join(append(part, victim.pid, victim.address)...)
			said, status := p.end()
			if said == secret || status.ExitStatus() == 0 {
				t.Errorf("it got the secret: %v", status)
			}
			r := c.expect(want{verdict: node.stopVerdict(), target: victim.number()})
			if r.Actor.Origin != p.cmd.Process.Pid {
				t.Errorf("origin %d, not %d", r.Actor.Origin, p.cmd.Process.Pid)
			}
		})
	}
	init.say("end")
}

// The runtime's own processes in the container's cgroup are not the workload.
func TestGuardLeavesTheRuntimeAlone(t *testing.T) {
	node := sharedNode(t)
	victim := newVictim(t, nil)
	c := newContainer(t, node, plan("runtime", policy.ModeEnforce, allRefused()))
	init := c.enter("sleep")
	init.expect("at the gate")
	if err := node.Enrol(c.plan, init.cmd.Process.Pid, c.cgroup); err != nil {
		t.Fatal(err)
	}
	hook := c.join("vm-read", victim.pid, victim.address) // a hook of another program, before init's exec
	gotIt(t, hook)
	if armed, err := node.Armed("runtime"); armed || err != nil {
		t.Errorf("armed %v, %v before init's exec", armed, err)
	}
	init.say("go")
	init.expect("asleep")
	if armed, err := node.Armed("runtime"); !armed || err != nil {
		t.Errorf("armed %v, %v after init's exec", armed, err)
	}
	joining := c.enterWith(0, nil, "vm-read", victim.pid, victim.address) // in the runtime's mount namespace
	joining.expect("at the gate")
	joining.say("go")
	gotIt(t, joining)
	if records := c.records(); len(records) > 0 {
		t.Errorf("the runtime's work was told: %+v", records[0])
	}
	moved := c.enterWith(syscall.CLONE_NEWNS, nil, "vm-read", victim.pid, victim.address)
	moved.expect("at the gate")
	moved.say("go")
	c.stopped(moved)
}

// A process that left the cgroup and outlives the container has no rules left that could allow its
// accesses.
func TestGuardOutlivesTheContainer(t *testing.T) {
	node := sharedNode(t)
	victim := newVictim(t, nil)
	c := newContainer(t, node, plan("orphan", policy.ModeEnforce, allObserved()))
	c.plan.Rules.Host = policy.ActionObserve
	p := c.run("escape", testenv.Cgroup2(t), "flood", "1", victim.pid, victim.address)
	p.expect("flooded")
	if err := Release(node.paths, "orphan"); err != nil {
		t.Fatal(err)
	}
	p.say("once more")
	if said, status := p.end(); said == secret || status.ExitStatus() == 0 {
		t.Errorf("an orphan got the secret: %v, %q", status, said)
	}
}

// An orphan's released container cannot allow access to others: the victim's rule holds, and is
// reported.
func TestOrphanReachesIn(t *testing.T) {
	node := sharedNode(t)
	strict := newContainer(t, node, plan("strict", policy.ModeEnforce, allRefused()))
	victim := meet(strict.run("victim"))
	c := newContainer(t, node, plan("lenient", policy.ModeAudit, allObserved()))
	p := c.run("escape", testenv.Cgroup2(t), "flood", "0", victim.pid, victim.address)
	p.expect("flooded")
	if err := Release(node.paths, "lenient"); err != nil {
		t.Fatal(err)
	}
	p.say("once more")
	if said, status := p.end(); said == secret || status.ExitStatus() == 0 {
		t.Errorf("an orphan got the secret: %v, %q", status, said)
	}
	strict.expect(want{verdict: node.stopVerdict(), relation: access.RelationOtherContainer, flags: FlagInbound | FlagInboundRule})
}

func TestAllow(t *testing.T) {
	node := sharedNode(t)
	root := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(root, "tool")
	if err := os.WriteFile(tool, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/tool", filepath.Join(root, "alias")); err != nil {
		t.Fatal(err)
	}
	p := plan("allow", policy.ModeEnforce, allRefused())
	p.Identity.Sandbox, p.Allow = "pod", []string{"/alias"}
	c := newContainer(t, node, p)
	p.Rootfs = root
	victim := meet(c.run("victim"))
	other := plan("other", policy.ModeEnforce, allRefused())
	other.Identity.Sandbox, other.Rootfs = "pod", root
	sibling := newContainer(t, node, other)
	theirs := meet(sibling.run("victim"))

	gotIt(t, c.join("exec", tool, "vm-read", victim.pid, victim.address))
	c.expect(want{verdict: access.VerdictObserved, relation: access.RelationSameContainer, flags: FlagAllowed})
	c.stopped(c.join("vm-read", victim.pid, victim.address))                     // another executable
	c.stopped(c.join("exec", tool, "vm-read", theirs.pid, theirs.address))       // another container of the pod
	c.stopped(sibling.join("exec", tool, "vm-read", theirs.pid, theirs.address)) // in another container

	p.AllowPod = []string{"/tool"}
	if err := node.update(p); err != nil {
		t.Fatal(err)
	}
	c.stopped(c.join("exec", tool, "vm-read", theirs.pid, theirs.address)) // the other container refuses inbound access
	other.Rules.Inbound = policy.ActionObserve
	if err := node.update(other); err != nil {
		t.Fatal(err)
	}
	gotIt(t, c.join("exec", tool, "vm-read", theirs.pid, theirs.address))

	if err := os.Chmod(tool, 0o700); err != nil { // any change of the inode
		t.Fatal(err)
	}
	c.stopped(c.join("exec", tool, "vm-read", victim.pid, victim.address))
	if err := errors.Join(os.Remove(tool), os.WriteFile(tool, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	c.stopped(c.join("exec", tool, "vm-read", victim.pid, victim.address))

	p.Allow = []string{"/missing"}
	if err := node.update(p); err == nil {
		t.Error("an executable that is not there was allowed")
	}
}

// A running script is its interpreter: allowing the script's name allows nothing, and allowing the
// interpreter allows all of its scripts.
func TestAllowScript(t *testing.T) {
	node := sharedNode(t)
	root := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	interpreter, script := filepath.Join(root, "interpreter"), filepath.Join(root, "script")
	if err := errors.Join(os.WriteFile(interpreter, self, 0o755), os.WriteFile(script, []byte("#!"+interpreter+" scripted\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	p := plan("allow-script", policy.ModeEnforce, allRefused())
	p.Allow = []string{"/script"}
	c := newContainer(t, node, p)
	p.Rootfs = root
	victim := meet(c.run("victim"))
	c.stopped(c.join("exec", script, "vm-read", victim.pid, victim.address))
	c.stopped(c.join("exec", interpreter, "vm-read", victim.pid, victim.address))
	p.Allow = []string{"/interpreter"}
	if err := node.update(p); err != nil {
		t.Fatal(err)
	}
	gotIt(t, c.join("exec", script, "vm-read", victim.pid, victim.address))
}

func TestReleaseLeavesNothing(t *testing.T) {
	node := sharedNode(t)
	p := plan("gone", policy.ModeEnforce, allRefused())
	p.Allow = []string{"/proc/self/exe"}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.Allow = []string{self}
	c := newContainer(t, node, p)
	c.run("sleep").expect("asleep")
	for range 2 { // it is idempotent
		if err := Release(node.paths, "gone"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(node.paths.Pins("gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its pins: %v", err)
	}
	for _, name := range []string{mapContainers, mapStates, mapGrants, mapKeys, mapRings} {
		m, err := node.pinned(name)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := m.NextKeyBytes(nil); err != nil || key != nil {
			t.Errorf("the map %s has %x, %v", name, key, err)
		}
	}
	if _, err := node.Counters("gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("counters of a released container: %v", err)
	}
}

// A target that left its cgroup still belongs to its container, and is named even if it may be gone
// when the record is read.
func TestGuardTellsWhoseMemory(t *testing.T) {
	node := sharedNode(t)
	c := newContainer(t, node, plan("whose-memory", policy.ModeEnforce, allRefused()))
	init := c.run("sleep")
	init.expect("asleep")
	victim := meet(c.join("escape", testenv.Cgroup2(t), "victim"))
	for _, attack := range []string{"mem-read", "vm-read"} {
		if said, status := c.join(attack, victim.pid, victim.address).end(); said == secret || status.ExitStatus() == 0 {
			t.Errorf("%s got the secret: %v", attack, status)
		}
		r := c.expect(want{verdict: node.stopVerdict(), target: victim.number(), relation: access.RelationSameContainer})
		if args := r.Target.Args; len(args) == 0 || args[len(args)-1] != "victim" || r.Target.Exe == "" {
			t.Errorf("%s: the target is %q, %q", attack, r.Target.Exe, args)
		}
	}
}

// update replaces the container's rules with those of a changed plan.
func (n *Node) update(plan *policy.Plan) error {
	id, err := n.cgroup(plan.Identity.Key)
	if err != nil {
		return err
	}
	fresh, err := n.container(plan)
	if err != nil {
		return err
	}
	containers, err := n.pinned(mapContainers)
	if err != nil {
		return err
	}
	var former kernelContainer
	if err := containers.Lookup(id, &former); err != nil {
		return fmt.Errorf("look the container up: %w", err)
	}
	fresh.Init, fresh.RuntimeMntNs = former.Init, former.RuntimeMntNs
	if err := n.revoke(id); err != nil {
		return err
	}
	if err := n.grant(plan, id); err != nil {
		return err
	}
	return containers.Update(id, fresh, ebpf.UpdateExist)
}

package bpf

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// attacks are the ways to access another process's memory.
var attacks = []struct {
	part      string
	vector    access.Vector
	operation access.Operation
}{
	{"mem-read", access.VectorProcMem, access.OperationRead},
	{"mem-write", access.VectorProcMem, access.OperationWrite},
	{"task-mem-read", access.VectorProcMem, access.OperationRead},
	{"thread-read", access.VectorProcMem, access.OperationRead},
	{"vm-read", access.VectorProcessVMReadv, access.OperationRead},
	{"vm-write", access.VectorProcessVMWritev, access.OperationWrite},
	{"peek", access.VectorPtrace, access.OperationRead},
	{"poke", access.VectorPtrace, access.OperationWrite},
}

func TestAccess(t *testing.T) {
	node := sharedNode(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, attack := range attacks {
		t.Run("audit/"+attack.part, func(t *testing.T) {
			victim := newVictim(t, nil)
			c := newContainer(t, node, plan("audit", policy.ModeAudit, allRefused()))
			p := c.run(attack.part, victim.pid, victim.address)
			if attack.operation == access.OperationRead {
				gotIt(t, p)
			} else if said, status := p.end(); status.ExitStatus() != 0 {
				t.Fatalf("audit stopped it: %v, %q", status, said)
			} else if victim.secret() != planted {
				t.Fatal("it changed nothing: the attack proves nothing")
			}
			w := want{
				attack.vector, attack.operation, access.RelationHost, access.VerdictObserved,
				access.SensorAccess, FlagWouldRefuse, victim.number(),
			}
			if attack.part == "peek" && node.Tier() == access.TierLSM {
				// A tracer's reads have no records beyond that of its attach, but are counted.
				if c.counters()[Counter{w.vector, w.verdict, w.sensor}] == 0 {
					t.Errorf("no peek was counted: %v", c.counters())
				}
				w.operation, w.sensor = access.OperationAttach, access.SensorLSM
			}
			r := c.expect(w)
			if len(r.Actor.Args) == 0 || r.Actor.Exe != self || r.Actor.Origin != p.cmd.Process.Pid ||
				r.Actor.PID != p.cmd.Process.Pid || r.Actor.Start == 0 || len(r.Actor.Ancestors) == 0 {
				t.Errorf("an incomplete actor: %+v", r.Actor)
			}
		})
		t.Run("enforce/"+attack.part, func(t *testing.T) {
			victim := newVictim(t, nil)
			c := newContainer(t, node, plan("enforce", policy.ModeEnforce, allRefused()))
			c.stopped(c.run(attack.part, victim.pid, victim.address))
			if got := victim.secret(); got != secret {
				t.Errorf("the victim has %q", got)
			}
			c.expect(want{vector: attack.vector, relation: access.RelationHost, verdict: node.stopVerdict(), target: victim.number()})
		})
	}
}

// openMem returns the victim's mem file, which stays open until the test ends.
func (v *victim) openMem(t *testing.T) *os.File {
	t.Helper()
	mem, err := os.Open("/proc/" + v.pid + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return mem
}

// A mem file opened before the guard existed is stopped on use.
func TestAccessOpenedBefore(t *testing.T) {
	node := sharedNode(t)
	for _, mode := range []policy.Mode{policy.ModeAudit, policy.ModeEnforce} {
		t.Run(string(mode), func(t *testing.T) {
			victim := newVictim(t, nil)
			mem := victim.openMem(t)
			c := newContainer(t, node, plan("inherited", mode, allRefused()))
			p := c.runWith([]*os.File{mem}, "fd-read", "3", victim.address)
			if mode == policy.ModeAudit {
				gotIt(t, p)
				return
			}
			if said, status := p.end(); status.Signal() != syscall.SIGKILL || said != "" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			c.expect(want{vector: access.VectorProcMem, verdict: access.VerdictKilled, sensor: access.SensorAccess, target: victim.number()})
		})
	}
}

// A descriptor received over a socket is refused on arrival or stopped on use.
func TestAccessReceived(t *testing.T) {
	node := sharedNode(t)
	for _, mode := range []policy.Mode{policy.ModeAudit, policy.ModeEnforce} {
		t.Run(string(mode), func(t *testing.T) {
			victim := newVictim(t, nil)
			mem := victim.openMem(t)
			c := newContainer(t, node, plan("received", mode, allRefused()))
			p := c.receive(mem, victim.address)
			if mode == policy.ModeAudit {
				gotIt(t, p)
				return
			}
			c.stopped(p)
			c.expect(want{vector: access.VectorProcMem, verdict: node.stopVerdict(), target: victim.number()})
		})
	}
}

// So is a descriptor taken with pidfd_getfd from a process that permits it.
func TestAccessTaken(t *testing.T) {
	node := sharedNode(t)
	for _, mode := range []policy.Mode{policy.ModeAudit, policy.ModeEnforce} {
		t.Run(string(mode), func(t *testing.T) {
			victim := newVictim(t, nil)
			mem := victim.openMem(t)
			rules := allRefused()
			rules.SameContainer = policy.ActionObserve
			c := newContainer(t, node, plan("taken", mode, rules))
			holder := c.runWith([]*os.File{mem}, "sleep")
			holder.expect("asleep")
			p := c.join("take", strconv.Itoa(holder.cmd.Process.Pid), "3", victim.address)
			if mode == policy.ModeAudit {
				gotIt(t, p)
				return
			}
			c.stopped(p)
			c.expect(want{vector: access.VectorProcMem, verdict: node.stopVerdict(), target: victim.number()})
		})
	}
}

// playTake takes another process's descriptor with pidfd_getfd and reads from it.
func playTake(args []string) int {
	pid, _ := strconv.Atoi(args[0])
	number, _ := strconv.Atoi(args[1])
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fail(err)
	}
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return fail(err)
	}
	return playAttack("fd-read", []string{strconv.Itoa(fd), args[2]})
}

// receive runs an actor that receives a file over a socket and reads from it at address.
func (c *container) receive(file *os.File, address string) *process {
	c.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	defer shut(near)
	defer shut(far)
	p := c.runWith([]*os.File{far}, "receive", address)
	if err := unix.Sendmsg(int(near.Fd()), []byte("x"), unix.UnixRights(int(file.Fd())), nil, 0); err != nil {
		c.t.Fatal(err)
	}
	return p
}

func TestAccessRelation(t *testing.T) {
	node := sharedNode(t)
	newPlan := func(key, sandbox string) *policy.Plan {
		p := plan(key, policy.ModeAudit, allRefused())
		p.Identity.Sandbox = sandbox
		return p
	}
	mine := newContainer(t, node, newPlan("mine", "pod"))
	inside := meet(mine.run("victim"))
	siblings := newContainer(t, node, newPlan("siblings", "pod"))
	strangers := newContainer(t, node, newPlan("strangers", "another-pod"))
	for _, test := range []struct {
		relation access.Relation
		victim   *victim
	}{
		{access.RelationSameContainer, inside},
		{access.RelationSamePod, meet(siblings.run("victim"))},
		{access.RelationOtherContainer, meet(strangers.run("victim"))},
		{access.RelationOtherContainer, newVictim(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP})},
		{access.RelationHost, newVictim(t, nil)},
	} {
		t.Run(fmt.Sprint(test.relation), func(t *testing.T) {
			gotIt(t, mine.join("vm-read", test.victim.pid, test.victim.address))
			mine.expect(want{vector: access.VectorProcessVMReadv, relation: test.relation, target: test.victim.number()})
		})
	}
	t.Run("child", func(t *testing.T) {
		gotIt(t, mine.join("child"))
		mine.expect(want{vector: access.VectorProcessVMReadv, relation: access.RelationChild})
	})
	for _, other := range []*container{siblings, strangers} {
		if records := other.records(); len(records) > 0 {
			t.Errorf("an access by another container is told twice: %+v", records[0])
		}
	}
}

func TestAccessInbound(t *testing.T) {
	node := sharedNode(t)
	inContainer := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
	for _, test := range []struct {
		name     string
		mode     policy.Mode
		attr     *syscall.SysProcAttr
		relation access.Relation
		flags    Flags
		stopped  bool
	}{
		{"host", policy.ModeEnforce, nil, access.RelationHost, FlagInbound | FlagHostActor, false},
		{"container, audit", policy.ModeAudit, inContainer, access.RelationOtherContainer, FlagInbound | FlagWouldRefuse | FlagInboundRule, false},
		{"container", policy.ModeEnforce, inContainer, access.RelationOtherContainer, FlagInbound | FlagInboundRule, true},
	} {
		for _, part := range []string{"vm-read", "mem-read", "peek"} {
			t.Run(test.name+"/"+part, func(t *testing.T) {
				c := newContainer(t, node, plan("inbound", test.mode, allRefused()))
				victim := meet(c.run("victim"))
				p := start(t, test.attr, nil, part, victim.pid, victim.address)
				if !test.stopped {
					gotIt(t, p)
					c.expect(want{relation: test.relation, verdict: access.VerdictObserved, flags: test.flags, target: victim.number()})
					return
				}
				c.stopped(p)
				c.expect(want{relation: test.relation, verdict: node.stopVerdict(), flags: test.flags, target: victim.number()})
			})
		}
	}
}

// An unguarded process gets an open mem file of a guarded one: no hook is called any more, but the
// use is still detected.
func TestAccessInboundOpened(t *testing.T) {
	node := sharedNode(t)
	for _, mode := range []policy.Mode{policy.ModeAudit, policy.ModeEnforce} {
		t.Run(string(mode), func(t *testing.T) {
			c := newContainer(t, node, plan("inbound-opened", mode, allRefused()))
			victim := meet(c.run("victim"))
			mem := victim.openMem(t)
			p := start(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}, []*os.File{mem}, "fd-read", "3", victim.address)
			w := want{vector: access.VectorProcMem, relation: access.RelationOtherContainer, sensor: access.SensorAccess, target: victim.number()}
			if mode == policy.ModeAudit {
				gotIt(t, p)
				w.verdict = access.VerdictObserved
			} else {
				if said, status := p.end(); status.Signal() != syscall.SIGKILL || said != "" {
					t.Errorf("it ended with %v and said %q", status, said)
				}
				w.verdict = access.VerdictKilled
			}
			c.expect(w)
		})
	}
}

func TestAccessSelf(t *testing.T) {
	node := sharedNode(t)
	c := newContainer(t, node, plan("self", policy.ModeEnforce, allObserved()))
	gotIt(t, c.run("self-write"))
	w := want{vector: access.VectorSelfMem, operation: access.OperationWrite, relation: access.RelationSelf, verdict: access.VerdictObserved, sensor: access.SensorAccess}
	c.expect(w)
	strict := newContainer(t, node, plan("strict", policy.ModeEnforce, allRefused()))
	strict.stopped(strict.run("self-write"))
	strict.expect(want{vector: access.VectorSelfMem, relation: access.RelationSelf, verdict: node.stopVerdict()})
}

// When the ring is full, records are lost but nothing else is.
func TestAccessFlood(t *testing.T) {
	const accesses = 3000
	node := sharedNode(t)
	victim := newVictim(t, nil)
	c := newContainer(t, node, plan("flood", policy.ModeAudit, allRefused()))
	p := c.run("flood", fmt.Sprint(accesses), victim.pid, victim.address)
	p.expect("flooded")
	counts := c.counters()
	seen := counts[Counter{access.VectorProcessVMReadv, access.VerdictObserved, access.SensorAccess}] +
		counts[Counter{access.VectorProcessVMWritev, access.VerdictObserved, access.SensorAccess}]
	if seen != accesses {
		t.Errorf("%d of %d accesses were counted", seen, accesses)
	}
	dropped, err := node.Dropped("flood")
	if err != nil || dropped == 0 {
		t.Fatalf("the ring was never full: %d, %v", dropped, err)
	}
	enforce := plan("flood", policy.ModeEnforce, allRefused())
	if err := node.update(enforce); err != nil {
		t.Fatal(err)
	}
	p.say("once more")
	c.stopped(p)
}

// Reading a gigabyte is one event.
func TestAccessRepeats(t *testing.T) {
	node := sharedNode(t)
	victim := newVictim(t, nil)
	c := newContainer(t, node, plan("repeats", policy.ModeAudit, allObserved()))
	p := c.run("many", "500", victim.pid, victim.address)
	gotIt(t, p)
	if got := c.counters()[Counter{access.VectorProcessVMReadv, access.VerdictObserved, access.SensorAccess}]; got != 500 {
		t.Errorf("%d were counted", got)
	}
	var told int
	for _, r := range c.records() {
		if r.Sensor == access.SensorAccess && strings.HasPrefix(r.Vector.String(), "process_vm") {
			told++
		}
	}
	if told == 0 || told > 100 {
		t.Errorf("%d were told", told)
	}
}

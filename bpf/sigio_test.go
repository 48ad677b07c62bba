package bpf

import (
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// outside returns the attributes of a process in an unguarded container.
func outside() *syscall.SysProcAttr { return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP} }

// echoing returns a program that echoes its input, has no signal handlers, and leads a process
// group of its own.
func echoing() []string { return []string{"exec", testSetsid, "/bin/cat"} }

const testSetsid = "/usr/bin/setsid"

// alive reports whether the process still answers, which it cannot after a fatal signal.
func (p *process) alive() bool {
	p.t.Helper()
	if _, err := p.stdin.Write([]byte("alive?\n")); err != nil {
		return false
	}
	said, _ := p.hear()
	return said == "alive?"
}

// await waits for the first record and returns it. Further records are like it: a pipe, for one,
// sends its signal again when its other end is closed.
func (c *container) await() *Record {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		records := c.records()
		for _, r := range records {
			if r.Vector != records[0].Vector || r.Verdict != records[0].Verdict || r.Actor.PID != records[0].Actor.PID || r.Target.PID != records[0].Target.PID {
				c.t.Fatalf("records of different things: %+v, %+v", *records[0], *r)
			}
		}
		if len(records) > 0 {
			return records[0]
		}
	}
	c.t.Fatalf("no record; counters: %v", c.counters())
	return nil
}

// sigio returns the part that makes a file send SIGABRT to p.
func (p *process) sigio(program, kind string) []string {
	return []string{"exec", program, kind, strconv.Itoa(p.cmd.Process.Pid)}
}

// A signal sent by a file, whatever the kind of file, entry and owner, is attributed to the process
// that selected it. It is refused from another container that is not guarded.
func TestLSMSigio(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	program := buildC(t, "sigio")
	for _, kind := range []string{
		"pipe", "int80", "x32", "high", "thread", "group", "siocspgrp", "fiosetown", "terminal", "notify", "lease", "perf", "gone",
	} {
		t.Run(kind, func(t *testing.T) {
			needEntry(t, kind+"-")
			free := start(t, nil, nil, echoing()...)
			if !free.alive() {
				t.Fatal("there is nobody to send a signal to")
			}
			said, status := start(t, outside(), nil, free.sigio(program, kind)...).end()
			if status.ExitStatus() == 3 {
				t.Logf("this kernel has no such way: %s", said)
				return
			}
			if _, ended := free.end(); said != "sent" || ended.Signal() != syscall.SIGABRT {
				t.Fatalf("at an unguarded one, it ended with %v and said %q, the other with %v: this proves nothing", status, said, ended)
			}

			c := newContainer(t, node, plan("signalled", policy.ModeEnforce, allRefused()))
			target := c.run(echoing()...)
			if !target.alive() {
				t.Fatal("there is nobody to send a signal to")
			}
			actor := start(t, outside(), nil, target.sigio(program, kind)...)
			pid := actor.cmd.Process.Pid
			if kind == "gone" {
				line, _ := actor.hear()
				pid, _ = strconv.Atoi(line)
			}
			if said, status := actor.end(); said != "sent" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			r := c.await()
			flags := FlagInbound | FlagInboundRule
			if kind == "int80" {
				flags |= FlagCompat
			}
			if r.Vector != access.VectorCoreDump || r.Operation != access.OperationRead || r.Relation != access.RelationOtherContainer ||
				r.Verdict != access.VerdictRefused || r.Sensor != access.SensorLSM || r.Flags != flags ||
				r.Actor.PID != pid || r.Actor.Comm != "sigio" || r.Target.PID != target.cmd.Process.Pid {
				t.Errorf("the record of what %d did to %d is %+v", pid, target.cmd.Process.Pid, *r)
			}
			if !target.alive() {
				t.Error("the target is gone")
			}
		})
	}
}

// Such a signal is judged by the relation of the process that selected it to the target.
func TestLSMSigioRelations(t *testing.T) {
	testenv.LSM(t)
	// A process that selects the signal before the programs are loaded is unknown.
	program := buildC(t, "sigio")
	early := start(t, outside(), nil, "exec", program, "early", "0")
	early.expect("armed")
	node := newNode(t)
	target := func(t *testing.T, mode policy.Mode) (*container, *process) {
		t.Helper()
		c := newContainer(t, node, plan("signalled", mode, allRefused()))
		p := c.run(echoing()...)
		if !p.alive() {
			t.Fatal("there is nobody to send a signal to")
		}
		return c, p
	}
	died := func(t *testing.T, p *process) {
		t.Helper()
		if _, status := p.end(); status.Signal() != syscall.SIGABRT {
			t.Errorf("the target ended with %v", status)
		}
	}
	quiet := func(t *testing.T, c *container) {
		t.Helper()
		if records := c.records(); len(records) > 0 {
			t.Errorf("%d records of what is nobody's business: %+v", len(records), *records[0])
		}
	}
	t.Run("of unknown origin", func(t *testing.T) {
		c, p := target(t, policy.ModeEnforce)
		early.say(strconv.Itoa(p.cmd.Process.Pid))
		early.expect("sent")
		r := c.await()
		if r.Verdict != access.VerdictRefused || r.Relation != access.RelationOtherContainer || r.Actor.PID != 0 || r.Target.PID != p.cmd.Process.Pid {
			t.Errorf("the record is %+v", *r)
		}
		if !p.alive() {
			t.Error("the target is gone")
		}
	})
	t.Run("from the node", func(t *testing.T) {
		c, p := target(t, policy.ModeEnforce)
		start(t, nil, nil, p.sigio(program, "pipe")...).expect("sent")
		died(t, p)
		quiet(t, c)
	})
	t.Run("within a container", func(t *testing.T) {
		c, p := target(t, policy.ModeEnforce)
		c.join(p.sigio(program, "gone")...).end()
		died(t, p)
		quiet(t, c)
	})
	t.Run("under audit", func(t *testing.T) {
		c, p := target(t, policy.ModeAudit)
		start(t, outside(), nil, p.sigio(program, "pipe")...).expect("sent")
		died(t, p)
		if r := c.await(); r.Verdict != access.VerdictObserved || r.Flags&FlagWouldRefuse == 0 {
			t.Errorf("the record is %+v", *r)
		}
	})
	for _, kind := range []string{"pipe", "gone"} {
		t.Run("by a guarded one/"+kind, func(t *testing.T) {
			free := start(t, nil, nil, echoing()...)
			if !free.alive() {
				t.Fatal("there is nobody to send a signal to")
			}
			c := newContainer(t, node, plan("sends", policy.ModeEnforce, allRefused()))
			if said, status := c.run(free.sigio(program, kind)...).end(); said != "sent" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			r := c.await()
			if r.Verdict != access.VerdictRefused || r.Relation != access.RelationHost || r.Actor.Exe != program || len(r.Actor.Args) != 3 || r.Actor.Origin == 0 {
				t.Errorf("the record is %+v", *r)
			}
			if !free.alive() {
				t.Error("the target is gone")
			}
		})
	}
	t.Run("from two containers", func(t *testing.T) {
		c, p := target(t, policy.ModeEnforce)
		observed := newContainer(t, node, plan("sends", policy.ModeEnforce, allObserved()))
		observed.run(p.sigio(program, "gone")...).end()
		r := observed.await()
		if r.Verdict != access.VerdictRefused || r.Relation != access.RelationOtherContainer || r.Flags&FlagInboundRule == 0 {
			t.Errorf("the record is %+v", *r)
		}
		if !p.alive() {
			t.Error("the target is gone")
		}
		quiet(t, c)
	})
}

// A plan's exceptions and rules apply to the executable of the process that selected the signal,
// which may have exited by the time it is sent.
func TestLSMSigioExecutable(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	program := buildC(t, "sigio")
	send := func(t *testing.T, p *policy.Plan) (*Record, *process) {
		t.Helper()
		inPod := plan("signalled", policy.ModeEnforce, allObserved())
		inPod.Identity.Sandbox, p.Identity.Sandbox, p.Rootfs = "pod", "pod", filepath.Dir(program)
		target := newContainer(t, node, inPod).run(echoing()...)
		if !target.alive() {
			t.Fatal("there is nobody to send a signal to")
		}
		c := newContainer(t, node, p)
		c.run(target.sigio(program, "gone")...).end()
		return c.await(), target
	}
	t.Run("allowed", func(t *testing.T) {
		p := plan("sends", policy.ModeEnforce, allRefused())
		p.AllowPod = []string{"/sigio"}
		r, target := send(t, p)
		if r.Verdict != access.VerdictObserved || r.Relation != access.RelationSamePod || r.Flags&FlagAllowed == 0 {
			t.Errorf("the record is %+v", *r)
		}
		if _, status := target.end(); status.Signal() != syscall.SIGABRT {
			t.Errorf("the target ended with %v", status)
		}
	})
	t.Run("refused by a rule", func(t *testing.T) {
		p := plan("sends", policy.ModeEnforce, allObserved())
		p.Rule = []policy.Rule{{Name: "sigio", Action: policy.ActionRefuse, Executables: []string{"/sigio"}, UIDs: []uint32{0}}}
		r, target := send(t, p)
		if r.Verdict != access.VerdictRefused || r.Relation != access.RelationSamePod || r.Rule != 1 {
			t.Errorf("the record is %+v", *r)
		}
		if !target.alive() {
			t.Error("the target is gone")
		}
	})
}

// No more files than can be recorded can be set to send a signal; a file's entry is freed when it
// is closed.
func TestLSMSigioBound(t *testing.T) {
	testenv.LSM(t)
	newNode(t)
	p := start(t, outside(), nil, "exec", buildC(t, "sigio"), "fill", "0")
	p.expect("1024: Cannot allocate memory")
	p.expect("again")
}

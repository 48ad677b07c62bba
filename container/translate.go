package container

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
)

// clockTick is the unit of field 22 of /proc/<pid>/stat: USER_HZ is 100 on every architecture that
// the kernel still supports (proc_pid_stat(5)).
const clockTick = 10 * time.Millisecond

// records is a container's ring buffer, such as a *bpf.Reader.
type records interface {
	Read() (*bpf.Record, error)
	Flush() error
	Close() error
}

// maxReadErrors is how many records in a row may be unreadable before reading stops.
const maxReadErrors = 100

// read turns the kernel's records into observations until ctx is done and none are left.
func (c *Container) read(ctx context.Context, from records) {
	stop := context.AfterFunc(ctx, func() {
		if err := from.Flush(); err != nil {
			c.logger(ctx).WithError(err).Warn("shimward: flush the container's records")
		}
	})
	defer stop()
	defer func() {
		if err := from.Close(); err != nil {
			c.logger(ctx).WithError(err).Warn("shimward: close the container's records")
		}
	}()
	for failed := 0; failed < maxReadErrors; {
		record, err := from.Read()
		switch {
		case err == nil:
			failed = 0
			c.observeRecord(ctx, record)
		case errors.Is(err, bpf.ErrFlushed), errors.Is(err, os.ErrClosed):
			return
		default:
			failed++
			c.logger(ctx).WithError(err).Warn("shimward: read a record of the kernel's")
		}
	}
	c.notice(event.SeverityCritical, "the kernel's records can no longer be read: accesses are still decided and counted, but have no events")
}

// observeRecord turns a record into an observation: what the kernel captured, supplemented by what
// proc says about a process that is still alive.
func (c *Container) observeRecord(ctx context.Context, r *bpf.Record) {
	inbound := r.Flags&bpf.FlagInbound != 0
	if c.told(r) {
		return
	}
	decision := c.explain(r, inbound)
	actor, actorOwn := c.enrich(&r.Actor)
	target, targetOwn := c.enrich(&r.Target)
	o := event.Observation{
		Severity:   event.Severity(decision.Severity),
		Sensor:     r.Sensor,
		At:         c.wallTime(r.Time),
		ActorStart: uint64(r.Actor.Start / clockTick), //nolint:gosec // not negative
		Access: event.Access{
			Vector:     r.Vector,
			Operation:  r.Operation,
			Syscall:    syscallName(r),
			Request:    requestName(r),
			Relation:   r.Relation,
			Inbound:    inbound,
			Verdict:    r.Verdict,
			Rule:       decision.Rule,
			Unenforced: decision.Unenforced,
			Policy:     c.plan.Digest,
			Technique:  r.Vector.Technique(),
			Actor:      actor,
			Target:     target,
		},
	}
	if r.Flags&bpf.FlagKillFailed != 0 {
		c.notice(event.SeverityCritical, "the kernel could not kill a process whose access to memory a rule refuses: see the event of the access")
	}
	if decision.Action == policy.ActionRefuse && !inbound {
		o.Access.Exception = c.voided(actor.Exe, target.Exe, actor.UID, deedOf(r, false))
	}
	p := pending{observation: o}
	if actorOwn {
		p.actor = originOf(&r.Actor)
	}
	if targetOwn {
		p.target = originOf(&r.Target)
	}
	c.add(ctx, p)
}

// originOf returns the process through which a record's process came into the container, as the
// kernel noted it at the time.
func originOf(p *bpf.Process) started {
	return started{pid: p.Origin, start: uint64(p.OriginStart / clockTick)} //nolint:gosec // not negative
}

// explain returns the decision, which names the rule, that a record's verdict comes from. The
// programs have the rules as a table, without names.
func (c *Container) explain(r *bpf.Record, inbound bool) policy.Decision {
	plan := c.plan
	if r.Flags&bpf.FlagInboundRule != 0 && !inbound {
		// It is the other container's rule that refuses.
		if other, ok := c.members.byID(r.Target.Cgroup); ok {
			return other.plan.Decide(deedOf(r, true), c.kernel.Tier())
		}
	}
	decision := plan.Decide(deedOf(r, inbound || r.Flags&bpf.FlagInboundRule != 0), c.kernel.Tier())
	if inbound && r.Verdict != access.VerdictObserved && decision.Action != policy.ActionRefuse {
		return policy.Orphan(r.Verdict)
	}
	if r.Lease {
		if leased, ok := plan.Lease(r.Relation, c.whyLeased(r.Actor.Exe)); ok {
			return leased
		}
	}
	if r.Flags&bpf.FlagAllowed != 0 {
		if except, ok := plan.Except(r.Relation); ok {
			return except
		}
	}
	newborn := r.Newborn && r.Vector == access.VectorPtrace
	if r.Flags&bpf.FlagTraceme != 0 || newborn || r.Relation == access.RelationChild && (r.Traced || c.traced.has(pairOf(r))) {
		decision = decision.Traceme()
	}
	return decision
}

// told reports whether a tracer's access has already been reported with its tracee's
// PTRACE_TRACEME, which the seccomp listener saw. LSM programs recognise this themselves in what
// they see.
func (c *Container) told(r *bpf.Record) bool {
	return r.Vector == access.VectorPtrace && r.Operation <= access.OperationAttach && r.Sensor == access.SensorAccess &&
		r.Verdict == access.VerdictObserved && r.Flags&bpf.FlagTraceme == 0 && c.traced.has(pairOf(r))
}

func pairOf(r *bpf.Record) pair {
	return pair{tracer: r.Actor.PID, tracee: r.Target.PID, start: uint64(r.Target.Start / clockTick)} //nolint:gosec // not negative
}

func deedOf(r *bpf.Record, inbound bool) policy.Deed {
	return policy.Deed{Vector: r.Vector, Operation: r.Operation, Relation: r.Relation, Inbound: inbound, Rule: r.Rule}
}

// enrich adds what proc says to what the kernel captured, and reports whether the process is this
// container's.
func (c *Container) enrich(p *bpf.Process) (out event.Process, own bool) {
	out = event.Process{
		PID: p.PID, TID: p.TID, PIDInside: p.PIDInside, UID: p.UID, Comm: p.Comm, Exe: p.Exe,
		Cmdline: strings.Join(p.Args, " "),
	}
	if owner, ok := c.members.byID(p.Cgroup); ok {
		out.Container, own = owner.plan.Identity.ID, owner.plan.Identity.Key == c.plan.Identity.Key
	}
	for _, ancestor := range p.Ancestors {
		out.Ancestry = append(out.Ancestry, event.Ancestor{PID: ancestor.PID, Comm: ancestor.Comm})
	}
	stat, err := c.proc.stat(p.PID)
	if err != nil || p.Start != 0 && stat.start != uint64(p.Start/clockTick) { //nolint:gosec // not negative
		return out, own // it is gone, and its pid may have been reused
	}
	if exe := c.proc.exe(p.PID); exe != "" {
		out.Exe = exe
	}
	if cmdline := c.proc.cmdline(p.PID); cmdline != "" {
		out.Cmdline = cmdline
	}
	if len(out.Ancestry) == 0 {
		out.Ancestry = c.ancestry(p.PID)
	}
	return out, own
}

// wallTime returns the time of day of a moment that the kernel gives as the time since boot.
func (c *Container) wallTime(sinceBoot time.Duration) time.Time {
	now := time.Now()
	var boot unix.Timespec
	if sinceBoot <= 0 || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return now
	}
	return now.Add(sinceBoot - time.Duration(boot.Nano()))
}

// syscallName returns the name of a record's system call if the vector determines it, and ""
// otherwise.
func syscallName(r *bpf.Record) string {
	switch {
	case r.Vector.Door() != access.DoorCall:
		return ""
	case r.Vector != access.VectorCoreLimit:
		return r.Vector.String()
	case setsLimit(r):
		return "prlimit64"
	default:
		return "" // a system call that opens files
	}
}

// setsLimit reports whether a record is of a prlimit64 call.
func setsLimit(r *bpf.Record) bool {
	if r.Flags&bpf.FlagCompat == 0 {
		const x32 = 1 << 30
		return r.Call&^x32 == unix.SYS_PRLIMIT64
	}
	return r.Call == map[string]uint32{"amd64": 340, "arm64": 369}[runtime.GOARCH] // i386's and arm's
}

// requestName returns the name of a record's ptrace request, or "" if it has none.
func requestName(r *bpf.Record) string {
	if r.Vector != access.VectorPtrace {
		return ""
	}
	switch r.Request {
	case unix.PTRACE_TRACEME:
		return "PTRACE_TRACEME"
	case unix.PTRACE_PEEKTEXT:
		return "PTRACE_PEEKTEXT"
	case unix.PTRACE_PEEKDATA:
		return "PTRACE_PEEKDATA"
	case unix.PTRACE_POKETEXT:
		return "PTRACE_POKETEXT"
	case unix.PTRACE_POKEDATA:
		return "PTRACE_POKEDATA"
	case unix.PTRACE_ATTACH:
		return "PTRACE_ATTACH"
	case unix.PTRACE_SEIZE:
		return "PTRACE_SEIZE"
	default:
		return ""
	}
}

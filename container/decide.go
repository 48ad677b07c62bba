package container

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// Decide answers a system call of this container that tries to access memory. The caller waits for
// the answer, so what only the event needs is looked up afterwards. What cannot be determined is
// judged as the strictest case: seccomp gives a process that is not visible pid 0, whose relation
// to the actor is that of the host.
func (c *Container) Decide(ctx context.Context, call seccomp.Call) seccomp.Answer {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return seccomp.Answer{}
	}
	actor, target := c.sideOf(call.Actor.PID), c.sideOf(call.Target.PID)
	// When a process of the container asks its parent to trace it (PTRACE_TRACEME), the parent is
	// the actor, and may be the runtime.
	inbound := !actor.own && target.own
	relation := c.relate(actor, target)
	if call.Kernel {
		relation = access.RelationKernel
	}
	deed, parties := c.deed(call, actor, target, relation, inbound)
	decision := c.judge(call, actor, target, deed, parties)
	if decision.Quiet {
		return seccomp.Answer{Continue: true}
	}
	answer := seccomp.Answer{Continue: true}
	if decision.Verdict == access.VerdictRefused {
		answer = seccomp.Answer{Errno: unix.EPERM}
	}
	o := observationOf(call, decision, relation, inbound)
	o.Access.Policy = c.plan.Digest
	if !c.folder.More(o) {
		if decision.Action == policy.ActionRefuse && !inbound {
			o.Access.Exception = c.voided(c.proc.exe(actor.pid), c.proc.exe(target.pid), parties.UID, deed)
		}
		c.observeCall(call, actor, target, o)
	}
	answer.Delivered = func() { c.kernel.Count(call.Vector, decision.Verdict) }
	return answer
}

// observationOf returns what is known of a call without reading proc.
func observationOf(call seccomp.Call, decision policy.Decision, relation access.Relation, inbound bool) event.Observation {
	return event.Observation{
		Severity:   event.Severity(decision.Severity),
		Sensor:     access.SensorSeccomp,
		At:         time.Now(),
		ActorStart: call.Actor.Start,
		Access: event.Access{
			Vector:     call.Vector,
			Operation:  call.Operation,
			Syscall:    call.Syscall,
			Request:    call.Request,
			Relation:   relation,
			Inbound:    inbound,
			Verdict:    decision.Verdict,
			Rule:       decision.Rule,
			Unenforced: decision.Unenforced,
			Technique:  call.Vector.Technique(),
			Actor:      event.Process{PID: call.Actor.PID, TID: call.Actor.TID},
			Target:     event.Process{PID: call.Target.PID, TID: call.Target.TID},
		},
	}
}

// deed returns a call as the plan judges it, and what the plan's own rules ask about it.
func (c *Container) deed(call seccomp.Call, actor, target side, relation access.Relation, inbound bool) (policy.Deed, policy.Parties) {
	deed := policy.Deed{Vector: call.Vector, Operation: call.Operation, Relation: relation, Inbound: inbound}
	parties := c.parties(call, actor, target)
	deed.Rule = c.plan.First(deed, parties)
	return deed, parties
}

// judge returns the plan's decision on a call, combined with that of the target's plan and with the
// exceptions.
func (c *Container) judge(call seccomp.Call, actor, target side, deed policy.Deed, parties policy.Parties) policy.Decision {
	tier := c.kernel.Tier()
	decision := c.plan.Decide(deed, tier)
	if call.Request == "PTRACE_TRACEME" || deed.Relation == access.RelationChild && c.debugs(call) {
		decision = decision.Traceme()
	}
	decision = c.exceptOf(actor.pid, deed, decision)
	if call.Swappable && tier != access.TierLSM {
		decision = c.strictest(actor.pid, deed, parties, decision)
	}
	if call.Preparation {
		decision = decision.Preparation()
	}
	// The target's container has a say in who accesses it.
	if !deed.Inbound && target.owner != nil && !target.own {
		deed.Inbound = true
		reaching := target.owner.plan.Decide(deed, tier)
		if reaching.Verdict > decision.Verdict {
			decision = reaching
		}
	}
	return decision
}

// exceptOf applies the actor's exceptions to a decision.
func (c *Container) exceptOf(actor int, deed policy.Deed, decision policy.Decision) policy.Decision {
	if decision.Verdict == access.VerdictRefused && !deed.Inbound {
		return c.except(actor, deed.Relation, decision)
	}
	return decision
}

// strictest returns the decision on a call whose target may still change before the kernel looks it
// up, when no sensor in the kernel checks it again. Exceptions are limited to their scope here,
// too.
func (c *Container) strictest(actor int, deed policy.Deed, parties policy.Parties, decision policy.Decision) policy.Decision {
	parties.TargetUnknown = true
	for deed.Relation = access.RelationChild; deed.Relation <= access.RelationHost; deed.Relation++ {
		deed.Rule = c.plan.First(deed, parties)
		if d := c.exceptOf(actor, deed, c.plan.Decide(deed, c.kernel.Tier())); d.Verdict > decision.Verdict {
			decision = d
		}
	}
	return decision
}

// observeCall reports a call that was decided. It reads what is known of the processes now, while
// the caller waits and is therefore alive.
func (c *Container) observeCall(call seccomp.Call, actor, target side, o event.Observation) {
	o.Access.Actor, o.Access.Target = c.describe(actor, call.Actor.TID), c.describe(target, call.Target.TID)
	if !call.Valid() {
		return // the caller was killed meanwhile: its call had no effect, and what was read from proc may be about other processes
	}
	if o.Access.Target.PIDInside == 0 {
		o.Access.Target.PIDInside = call.TargetInside
	}
	p := pending{observation: o}
	// The filter is inherited, so the process that it was installed for says how the caller came into
	// the container. With TRACEME, the caller is the target.
	if call.Request == "PTRACE_TRACEME" {
		p.target = started{pid: call.Process} // it may have ended, and its pid may have been reused
		c.traced.add(pair{tracer: call.Actor.PID, tracee: call.Target.PID, start: call.Target.Start})
	} else {
		p.actor = started{pid: call.Process}
	}
	if p.actor.pid == 0 && actor.own {
		p.actor = c.origins.above(c.proc.lineage(actor.pid))
	}
	if p.target.pid == 0 && target.own {
		p.target = c.origins.above(c.proc.lineage(target.pid))
	}
	select {
	case c.observations <- p:
	default:
		// The kernel's counters include the call. The caller must not have to wait for the disk, or
		// for whoever reads the log.
		c.missed.Add(1)
	}
}

// describe returns what proc says about one side of an access now.
func (c *Container) describe(s side, tid int) event.Process {
	p := event.Process{PID: s.pid, TID: tid}
	if s.pid <= 0 {
		return p
	}
	switch {
	case s.own:
		p.Container = c.plan.Identity.ID
	case s.owner != nil:
		p.Container = s.owner.plan.Identity.ID
	}
	if stat, err := c.proc.stat(s.pid); err == nil {
		p.Comm = stat.comm
	}
	if status, err := c.proc.status(s.pid); err == nil {
		p.UID, p.PIDInside = status.uid, status.inside
	}
	p.Exe, p.Cmdline = c.proc.exe(s.pid), c.proc.cmdline(s.pid)
	p.Ancestry = c.ancestry(s.pid)
	return p
}

// ancestry returns a process's parent, the parent's parent, and so on.
func (c *Container) ancestry(pid int) []event.Ancestor {
	const shown = 8
	var found []event.Ancestor
	for _, parent := range c.proc.ancestors(pid) {
		stat, err := c.proc.stat(parent)
		if err != nil || len(found) == shown {
			break
		}
		found = append(found, event.Ancestor{PID: parent, Comm: stat.comm})
	}
	return found
}

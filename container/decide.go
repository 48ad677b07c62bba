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

// Decide answers a call of this container's that reaches for memory. The caller
// waits for it, so what only the event needs is looked up after. What cannot be
// told is judged as the strictest: seccomp names a process that is out of sight
// with pid 0, which is related to the actor as the host is.
func (c *Container) Decide(ctx context.Context, call seccomp.Call) seccomp.Answer {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return seccomp.Answer{}
	}
	actor, target := c.sideOf(call.Actor.PID), c.sideOf(call.Target.PID)
	// Where the parent of a container's process is asked to trace it (TRACEME),
	// it is the actor, and may be the runtime.
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

// observationOf is what is known of a call without asking proc.
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

// deed is a call as the plan judges it, and what the plan's own rules ask about.
func (c *Container) deed(call seccomp.Call, actor, target side, relation access.Relation, inbound bool) (policy.Deed, policy.Parties) {
	deed := policy.Deed{Vector: call.Vector, Operation: call.Operation, Relation: relation, Inbound: inbound}
	parties := c.parties(call, actor, target)
	deed.Rule = c.plan.First(deed, parties)
	return deed, parties
}

// judge is the plan's decision on a call, with those of the target's plan and
// of the exceptions.
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
	// The target's container has a say in who reaches in.
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

// strictest is the decision on a call whose target can still be another one when
// the kernel looks, and where no sensor in the kernel looks again. Exceptions
// are limited to their scope here, too.
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

// observeCall tells of a call that was decided. What is known of the processes
// is read now, while the caller waits and so lives.
func (c *Container) observeCall(call seccomp.Call, actor, target side, o event.Observation) {
	o.Access.Actor, o.Access.Target = c.describe(actor, call.Actor.TID), c.describe(target, call.Target.TID)
	if !call.Valid() {
		return // the caller was killed meanwhile: nothing became of its call, and what proc said may be of others
	}
	if o.Access.Target.PIDInside == 0 {
		o.Access.Target.PIDInside = call.TargetInside
	}
	p := pending{observation: o}
	// The filter is inherited, so whose it is says how the caller came in. With
	// TRACEME that is the target.
	if call.Request == "PTRACE_TRACEME" {
		p.target = started{pid: call.Process} // which may have ended, and its pid be another's
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
		// The kernel's counters have it. A caller is not made to wait for the disk, nor for whoever reads the log.
		c.missed.Add(1)
	}
}

// describe is what proc tells of one side of an access, now.
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

// ancestry is who started a process, and who started that.
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

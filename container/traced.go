package container

import (
	"sync"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/seccomp"
)

// maxTraced bounds how many traced processes are remembered.
const maxTraced = 256

// traced remembers which processes asked which others to trace them, with PTRACE_TRACEME. Only the
// seccomp listener sees that in every tier, and what the tracer does afterwards is judged by it.
type traced struct {
	mu      sync.Mutex
	tracers map[pair]struct{} // guarded by mu
	order   []pair            // guarded by mu; oldest first
}

// pair is a tracer and a tracee, the latter with its start time.
type pair struct {
	tracer, tracee int
	start          uint64 // the tracee's, in clock ticks after boot
}

func (t *traced) add(p pair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tracers == nil {
		t.tracers = map[pair]struct{}{}
	}
	if _, known := t.tracers[p]; known {
		return
	}
	t.tracers[p] = struct{}{}
	t.order = append(t.order, p)
	if len(t.order) > maxTraced {
		delete(t.tracers, t.order[0])
		t.order = append(t.order[:0], t.order[1:]...)
	}
}

func (t *traced) has(p pair) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.tracers[p]
	return ok
}

// debugs reports whether a call is what a debugger does with a program that it started: it seizes
// its own child, which has not execed yet and is a copy of itself (strace), or accesses a
// descendant that it traces already. The tracing itself was reported and decided when it began.
func (c *Container) debugs(call seccomp.Call) bool {
	target, err := c.proc.stat(call.Target.PID)
	if err != nil || target.start != call.Target.Start {
		return false
	}
	if call.Vector == access.VectorPtrace {
		return target.newborn && target.parent == call.Actor.PID
	}
	status, err := c.proc.status(call.Target.PID)
	if err != nil || status.tracer <= 0 {
		return false
	}
	tracer, err := c.proc.status(status.tracer) // the tracer is a thread
	return err == nil && tracer.tgid == call.Actor.PID
}

package shim

import "sync"

// maxTraced bounds how many traced processes are remembered.
const maxTraced = 256

// traced remembers who asked to be traced, by PTRACE_TRACEME: only seccomp's
// listener sees that in every tier, and what the tracer does then is judged by it.
type traced struct {
	mu      sync.Mutex
	tracers map[pair]struct{} // guarded by mu
	order   []pair            // guarded by mu; oldest first
}

// pair is two processes, the second by its start time as well.
type pair struct {
	tracer, tracee int
	start          uint64 // of the tracee, in clock ticks after boot
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

package container

import (
	"context"
	"sync"
	"time"

	"github.com/shimward/shimward/event"
)

// How a process can have come into its container.
const (
	originEntrypoint = "entrypoint"
	originExec       = "exec"
	originUnknown    = "unknown"
)

// maxExecs bounds how many execs of a container are remembered. A probe is an
// exec every few seconds, for months; what they leave running is rarely asked about.
const maxExecs = 512

// originPatience is how long an observation waits for the exec it may have come
// from: its process runs before the runtime has said which one it is.
const originPatience = 10 * time.Second

// origins knows which processes the runtime itself started in a container.
type origins struct {
	mu       sync.Mutex
	init     int            // guarded by mu; 0 before it was created
	execs    map[int]string // guarded by mu; exec IDs by pid, "" where nobody said one
	order    []int          // guarded by mu; the keys of execs, oldest first
	starting int            // guarded by mu; execs that have no pid yet
	changed  chan struct{}  // guarded by mu; closed at the next change, nil where nobody waits
}

// Starting notes that the runtime is about to start an exec. What it returns
// must be called with its pid, or 0 if there is none.
func (c *Container) Starting(execID string) func(pid int) { return c.origins.begin(execID) }

// created notes the container's init.
func (o *origins) created(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.init = pid
	o.wake()
}

// initPID is the pid of the container's init, or 0.
func (o *origins) initPID() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.init
}

// begin notes that an exec is about to be started. What it returns must be
// called with its pid, or 0 if there is none.
func (o *origins) begin(execID string) func(pid int) {
	o.mu.Lock()
	o.starting++
	o.mu.Unlock()
	return func(pid int) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.starting--
		if pid > 0 {
			o.add(pid, execID)
		}
		o.wake()
	}
}

func (o *origins) add(pid int, execID string) {
	if o.execs == nil {
		o.execs = map[int]string{}
	}
	if _, known := o.execs[pid]; !known { // a pid comes back
		o.order = append(o.order, pid)
	}
	o.execs[pid] = execID
	if len(o.order) > maxExecs {
		delete(o.execs, o.order[0])
		o.order = append(o.order[:0], o.order[1:]...)
	}
}

func (o *origins) wake() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// of says how the process that the runtime started as pid came in. While an
// exec is being started, it waits for that.
func (o *origins) of(ctx context.Context, pid int) *event.Origin {
	if pid <= 0 {
		return &event.Origin{Kind: originUnknown}
	}
	ctx, cancel := context.WithTimeout(ctx, originPatience)
	defer cancel()
	for {
		o.mu.Lock()
		if pid == o.init {
			o.mu.Unlock()
			return &event.Origin{Kind: originEntrypoint, PID: pid}
		}
		execID, known := o.execs[pid]
		if known && execID != "" {
			o.mu.Unlock()
			return &event.Origin{Kind: originExec, ExecID: execID, PID: pid}
		}
		if known || o.starting == 0 {
			o.mu.Unlock()
			return &event.Origin{Kind: originUnknown, PID: pid}
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			o.giveUp(pid)
			return &event.Origin{Kind: originUnknown, PID: pid}
		}
	}
}

// giveUp notes that nobody said where pid comes from, so that a flood of
// observations of it is not each made to wait.
func (o *origins) giveUp(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.execs[pid]; !known && pid != o.init {
		o.add(pid, "")
	}
}

// above is the first of pids, a process and its ancestors, that the runtime
// started in the container; 0 if none is. A process whose parent ended has init
// for a parent, so this is a guess where nothing better is known.
func (o *origins) above(pids []int) int {
	for _, pid := range pids {
		if o.has(pid) {
			return pid
		}
	}
	return 0
}

// has tells whether pid is a process that the runtime started in the container.
func (o *origins) has(pid int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if pid == o.init && pid != 0 {
		return true
	}
	return o.execs[pid] != ""
}

package container

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

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

// started is a process that the runtime started, or that somebody asked about.
// Pids come back: start tells it from a later one of its pid.
type started struct {
	pid   int
	start uint64 // in clock ticks after boot; 0 of one that was gone before it was looked at
}

// origins knows which processes the runtime itself started in a container.
type origins struct {
	mu       sync.Mutex
	init     started          // guarded by mu; its pid is 0 before it was created
	execs    map[int]noted    // guarded by mu; by pid
	order    []int            // guarded by mu; the keys of execs, oldest first
	unsaid   map[started]bool // guarded by mu; those that were waited for in vain
	starting int              // guarded by mu; execs that have no pid yet
	changed  chan struct{}    // guarded by mu; closed at the next change, nil where nobody waits
}

// noted is a process that the runtime started in a container that runs.
type noted struct {
	// It started at from, in clock ticks after boot, or, where it was gone before it
	// was looked at, between from and to.
	from, to uint64
	id       string
}

// Starting notes that the runtime is about to start an exec. What it returns
// must be called with its pid, or 0 if there is none.
func (c *Container) Starting(execID string) func(pid int) {
	begun := c.origins.begin(execID)
	return func(pid int) { begun(c.proc.started(pid)) }
}

// created notes the container's init.
func (o *origins) created(init started) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.init = init
	o.wake()
}

// initProcess is the container's init; its pid is 0 before it was created.
func (o *origins) initProcess() started {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.init
}

// begin notes that an exec is about to be started. What it returns must be
// called with its process; the pid is 0 if there is none.
func (o *origins) begin(execID string) func(started) {
	o.mu.Lock()
	o.starting++
	o.mu.Unlock()
	from := sinceBoot()
	return func(p started) {
		exec := noted{from: p.start, to: p.start, id: execID}
		if p.start == 0 {
			exec.from, exec.to = from, sinceBoot()
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.starting--
		if p.pid > 0 {
			o.add(p.pid, exec)
		}
		o.wake()
	}
}

// sinceBoot is now as a process's start time is given.
func sinceBoot() uint64 {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return uint64(time.Duration(boot.Nano()) / clockTick) //nolint:gosec // not negative
}

func (o *origins) add(pid int, exec noted) {
	if o.execs == nil {
		o.execs = map[int]noted{}
	}
	if _, known := o.execs[pid]; !known { // a pid comes back
		o.order = append(o.order, pid)
	}
	o.execs[pid] = exec
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

// find is what is known of a process that the runtime started. One that is gone is
// taken for the last that had its pid, one that lives, or was seen to, is not. o.mu is held.
func (o *origins) find(p started) (execID string, known bool) {
	found, known := o.execs[p.pid]
	if !known || p.start != 0 && (p.start < found.from || p.start > found.to) {
		return "", false
	}
	return found.id, true
}

// isInit tells whether a process is the container's init, as find does. o.mu is held.
func (o *origins) isInit(p started) bool {
	return p.pid == o.init.pid && (p.start == 0 || o.init.start == 0 || p.start == o.init.start)
}

// of says how a process that the runtime started came in. While an exec is being
// started, it waits for that.
func (o *origins) of(ctx context.Context, p started) *event.Origin {
	pid := p.pid
	if pid <= 0 {
		return &event.Origin{Kind: originUnknown}
	}
	ctx, cancel := context.WithTimeout(ctx, originPatience)
	defer cancel()
	for {
		o.mu.Lock()
		if o.isInit(p) {
			o.mu.Unlock()
			return &event.Origin{Kind: originEntrypoint, PID: pid}
		}
		execID, known := o.find(p)
		if known && execID != "" {
			o.mu.Unlock()
			return &event.Origin{Kind: originExec, ExecID: execID, PID: pid}
		}
		if known || o.starting == 0 || o.unsaid[p] {
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
			o.giveUp(p)
			return &event.Origin{Kind: originUnknown, PID: pid}
		}
	}
}

// giveUp notes that nobody said where a process comes from, so that a flood of
// observations of it is not each made to wait.
func (o *origins) giveUp(p started) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unsaid) >= maxExecs {
		clear(o.unsaid)
	}
	if o.unsaid == nil {
		o.unsaid = map[started]bool{}
	}
	o.unsaid[p] = true
}

// above is the first of a process and its ancestors that the runtime started in
// the container; its pid is 0 if none is. A process whose parent ended has init
// for a parent, so this is a guess where nothing better is known.
func (o *origins) above(lineage []started) started {
	for _, p := range lineage {
		if o.has(p) {
			return p
		}
	}
	return started{}
}

// has tells whether a process that lives was started in the container by the
// runtime: what it may do hangs on that, so its start time has to say so.
func (o *origins) has(p started) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.pid <= 0 || p.start == 0 {
		return false
	}
	execID, _ := o.find(p)
	return p == o.init || execID != ""
}

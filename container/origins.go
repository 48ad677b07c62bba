package container

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
)

// The ways in which a process can have come into its container.
const (
	originEntrypoint = "entrypoint"
	originExec       = "exec"
	originUnknown    = "unknown"
)

// maxExecs bounds how many execs of a container are remembered. A probe is an exec every few
// seconds, for months, and the processes that probes leave running are rarely asked about.
const maxExecs = 512

// originPatience is how long an observation waits for the exec that it may have come from: the
// exec's process runs before the runtime has reported which one it is.
const originPatience = 10 * time.Second

// started identifies a process that the runtime started, or that is looked up. Pids are reused:
// start distinguishes the process from later ones with the same pid.
type started struct {
	pid   int
	start uint64 // in clock ticks after boot; 0 if the process was gone before it was examined
}

// origins records which processes the runtime itself started in a container.
type origins struct {
	mu       sync.Mutex
	init     started          // guarded by mu; its pid is 0 until it is created
	execs    map[int]noted    // guarded by mu; by pid
	order    []int            // guarded by mu; the keys of execs, oldest first
	unsaid   map[started]bool // guarded by mu; the processes that were waited for in vain
	starting int              // guarded by mu; number of execs that have no pid yet
	changed  chan struct{}    // guarded by mu; closed at the next change; nil if nobody waits
}

// noted is a process that the runtime started in a running container.
type noted struct {
	// It started at from, in clock ticks after boot, or, if it was gone before it was examined, at
	// some time between from and to.
	from, to uint64
	id       string
}

// Starting notes that the runtime is about to start an exec. The function that it returns must be
// called with the exec's pid, or with 0 if there is none.
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

// initProcess returns the container's init; its pid is 0 until it is created.
func (o *origins) initProcess() started {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.init
}

// begin notes that an exec is about to be started. The function that it returns must be called with
// the exec's process, whose pid is 0 if there is none.
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

// sinceBoot returns the current time in the unit of a process's start time.
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
	if _, known := o.execs[pid]; !known { // otherwise the pid was reused
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

// find returns what is known of a process that the runtime started. A process that was already gone
// (p.start is 0) is taken to be the last one that had its pid; a process that is alive, or was seen
// alive, is matched by its start time as well. o.mu must be held.
func (o *origins) find(p started) (execID string, known bool) {
	found, known := o.execs[p.pid]
	if !known || p.start != 0 && (p.start < found.from || p.start > found.to) {
		return "", false
	}
	return found.id, true
}

// isInit reports whether a process is the container's init, in the same way as find. o.mu must be
// held.
func (o *origins) isInit(p started) bool {
	return p.pid == o.init.pid && (p.start == 0 || o.init.start == 0 || p.start == o.init.start)
}

// of returns how a process that the runtime started came into the container. While an exec is being
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

// giveUp notes that nobody reported where a process comes from, so that not every one of a flood of
// observations has to wait for it.
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

// above returns the first of a process and its ancestors that the runtime started in the container;
// its pid is 0 if there is none. A process whose parent has ended becomes a child of init, so this
// is a guess, for when nothing better is known.
func (o *origins) above(lineage []started) started {
	for _, p := range lineage {
		if o.has(p) {
			return p
		}
	}
	return started{}
}

// has reports whether a living process was started in the container by the runtime. What the
// process may do depends on this, so its start time must match.
func (o *origins) has(p started) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.pid <= 0 || p.start == 0 {
		return false
	}
	execID, _ := o.find(p)
	return p == o.init || execID != ""
}

package shim

import (
	"context"
	"time"

	"github.com/shimward/shimward/event"
)

// recordStart records that the runtime started a process in the container.
func (c *container) recordStart(ctx context.Context, kind event.Kind, pid int) {
	p := c.describe(side{pid: pid, own: true}, 0)
	p.Ancestry = nil // the runtime's own processes
	p.Origin = c.origins.of(ctx, pid)
	c.record(event.Event{Kind: kind, Process: &p})
}

// recordExit records the end of a process that the runtime had started, once.
func (c *container) recordExit(execID string, pid, code int, at time.Time) {
	if pid <= 0 {
		return // it never ran
	}
	c.mu.Lock()
	seen := c.exited[execID]
	c.exited[execID] = true
	c.mu.Unlock()
	if seen {
		return
	}
	origin := &event.Origin{Kind: originEntrypoint, PID: pid}
	if execID != "" {
		origin = &event.Origin{Kind: originExec, ExecID: execID, PID: pid}
	}
	c.record(event.Event{
		Time: at, Kind: event.KindExited, ExitCode: &code,
		Process: &event.Process{PID: pid, Container: c.plan.Identity.ID, Origin: origin},
	})
}

// forgetExit makes room for another exec of the same ID.
func (c *container) forgetExit(execID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.exited, execID)
}

// finish ends a container that was deleted: its records come out in order, its
// state goes, its events stay.
func (c *container) finish(ctx context.Context) {
	c.drain()
	c.record(event.Event{Kind: event.KindDeleted})
	c.close()
	removeState(ctx, c.plan.Paths, c.plan.Identity.Key)
	if _, err := event.Sweep(c.plan.Paths.Log, c.limits.NodeBytes(), c.limits.EndedContainers); err != nil {
		c.logger(ctx).WithError(err).Warn("shimward: sweep the event store")
	}
}

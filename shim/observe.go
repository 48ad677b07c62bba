package shim

import (
	"context"

	"github.com/shimward/shimward/event"
)

// pending is an observation that still has to be told how one of its processes
// came into the container, for which it may have to wait for the runtime.
type pending struct {
	observation event.Observation
	inbound     bool // it is the target that came in
	origin      int  // the process that the runtime had started, 0 where that is unknown
}

// maxPending is how many observations of seccomp's may wait for that.
const maxPending = 256

// add hands an observation to the folder, with the origin in it.
func (c *container) add(ctx context.Context, p pending) {
	inside := &p.observation.Access.Actor
	if p.inbound {
		inside = &p.observation.Access.Target
	}
	inside.Origin = c.origins.of(ctx, p.origin)
	c.folder.Add(p.observation)
}

// foldCalls hands on what Decide saw, until ctx is done and none are left.
func (c *container) foldCalls(ctx context.Context) {
	for {
		select {
		case p := <-c.observations:
			c.add(ctx, p)
			continue
		default:
		}
		select {
		case p := <-c.observations:
			c.add(ctx, p)
		case <-ctx.Done():
			return
		}
	}
}

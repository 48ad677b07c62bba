package container

import (
	"context"

	"github.com/shimward/shimward/event"
)

// pending is an observation that still has to be told how its processes came
// into the container, for which it may have to wait for the runtime.
type pending struct {
	observation event.Observation
	// The processes that the runtime had started and that actor and target come
	// from; the pid is 0 of one that is not this container's, or where that is unknown.
	actor, target started
}

// maxPending is how many observations of seccomp's may wait for that.
const maxPending = 256

// add hands an observation to the folder, with the origin in it.
func (c *Container) add(ctx context.Context, p pending) {
	if p.actor.pid != 0 {
		p.observation.Access.Actor.Origin = c.origins.of(ctx, p.actor)
	}
	if p.target.pid != 0 {
		p.observation.Access.Target.Origin = c.origins.of(ctx, p.target)
	}
	c.folder.Add(p.observation)
}

// foldCalls hands on what Decide saw, until ctx is done and none are left.
func (c *Container) foldCalls(ctx context.Context) {
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

package container

import (
	"context"

	"github.com/shimward/shimward/event"
)

// pending is an observation for which it remains to be determined how its processes came into the
// container. That may require waiting for the runtime.
type pending struct {
	observation event.Observation
	// The processes started by the runtime from which actor and target descend. The pid is 0 for a
	// side that is not in this container, or whose origin is unknown.
	actor, target started
}

// maxPending is how many of the seccomp listener's observations may wait for that.
const maxPending = 256

// add passes an observation to the folder, with the origins filled in.
func (c *Container) add(ctx context.Context, p pending) {
	if p.actor.pid != 0 {
		p.observation.Access.Actor.Origin = c.origins.of(ctx, p.actor)
	}
	if p.target.pid != 0 {
		p.observation.Access.Target.Origin = c.origins.of(ctx, p.target)
	}
	c.folder.Add(p.observation)
}

// foldCalls passes on what Decide observed, until ctx is done and none are left.
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

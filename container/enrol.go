package container

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/policy"
)

// enrolling is how far a container has come on its way under guard.
type enrolling struct {
	open   func() (*bpf.Node, error) // returns the node-wide programs, and opens them when it is first called
	opened atomic.Pointer[bpf.Node]  // what open has opened

	mu    sync.Mutex
	where Enrolment // guarded by mu; zero before Enrol
	over  bool      // guarded by mu; the container is being deleted
}

// opens sets what open opens.
func (e *enrolling) opens(paths policy.Paths) {
	e.open = sync.OnceValues(func() (*bpf.Node, error) {
		node, err := bpf.Ensure(bpf.NodeOptions{Paths: paths})
		e.opened.Store(node)
		return node, err
	})
}

// shut closes what was opened for a container that did not come as far as Attach.
func (e *enrolling) shut() error {
	if node := e.opened.Load(); node != nil {
		return node.Close()
	}
	return nil
}

// prepareRing loads the programs, if that has not been done since the last boot, and creates the
// container's ring buffer while the runtime creates everything else, because it takes the kernel some
// milliseconds. If that fails, Enrol does it, and Enrol's error is the one that counts.
func (c *Container) prepareRing() {
	c.running.Go(func() {
		node, err := c.enrolling.open()
		if err != nil {
			return
		}
		if err := node.Prepare(c.plan.Identity.Key); err != nil {
			c.logger(c.context).WithError(err).Debug("shimward: make the ring buffer ahead of the hook")
		}
	})
}

// Enrol puts the container under guard, as its createRuntime hook asks. At this point, the container's
// init exists and is in its cgroup, but runs no user code yet: the runtime waits for the hook. The user
// sees the text of an error.
func (c *Container) Enrol(state *hooks.State) error {
	if err := c.isFor(state); err != nil {
		return err
	}
	if state.PID <= 0 {
		return fmt.Errorf("the runtime's state has pid %d: a createRuntime hook is started with the container's init there", state.PID)
	}
	e := &c.enrolling
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.over:
		return fmt.Errorf("container %s is being deleted: create it again", c.plan.Identity.ID)
	case e.where.PID == state.PID:
		return nil // runc before 1.2 runs the hooks of a container without a mount namespace twice
	case e.where.PID != 0:
		return fmt.Errorf("container %s is under guard already, with init %d: give the other its own bundle", c.plan.Identity.ID, e.where.PID)
	}
	cgroup, err := bpf.CgroupPath(state.PID)
	if err != nil {
		return fmt.Errorf("find the container's cgroup: %w", err)
	}
	node, err := e.open()
	if err != nil {
		return fmt.Errorf("load shimward's programs: %w", err)
	}
	if err := c.plan.CheckTier(node.Tier()); err != nil {
		return err
	}
	if err := c.context.Err(); err != nil {
		return fmt.Errorf("container %s has been given up: %w", c.plan.Identity.ID, err)
	}
	// Write the enrolment first, so that whoever finds the container enrolled can tell when that is
	// stale.
	where := Enrolment{PID: state.PID, Cgroup: cgroup}
	if err := writeEnrolment(c.plan, where); err != nil {
		return err
	}
	if err := node.Enrol(c.plan, state.PID, cgroup); err != nil {
		return fmt.Errorf("put the container under guard: %w", err)
	}
	e.where = where
	return nil
}

// isFor returns an error if a runtime's state is of another container. A bundle that was copied has the
// hooks of the one that it was copied from.
func (c *Container) isFor(state *hooks.State) error {
	if state == nil {
		return errors.New("the hook passed no state on: install shimward-hook of the same version as the rest of shimward")
	}
	if key := policy.Key(state.ID, state.Bundle); state.ID != c.plan.Identity.ID || key != c.plan.Identity.Key {
		return fmt.Errorf("the hook is container %s's, in %s, and is run for container %q in %q: write a new config.json",
			c.plan.Identity.ID, c.plan.Identity.Bundle, state.ID, state.Bundle)
	}
	return nil
}

// Where returns where the container is. It is zero before Enrol, and does not change after, whatever
// becomes of the container's files.
func (c *Container) Where() Enrolment {
	c.enrolling.mu.Lock()
	defer c.enrolling.mu.Unlock()
	return c.enrolling.where
}

// Host answers the container's hooks until the container is closed. A monitor answers them itself,
// because it has more to do.
func (c *Container) Host() error {
	server, err := hooks.Listen(c.plan.Paths.Host(c.plan.Identity.Key))
	if err != nil {
		return err
	}
	c.running.Go(func() { server.Serve(c.context, c.answerHook) })
	return nil
}

// answerHook acts on a hook's message.
func (c *Container) answerHook(m hooks.Message) error {
	switch m.What {
	case hooks.MessageCreated:
		return c.Enrol(m.State)
	case hooks.MessageStopped:
		return c.stopped(m.State)
	default:
		return fmt.Errorf("the container's shim does not know the message %q", m.What)
	}
}

// stopped releases what the container has in the kernel. The rest of its end is recorded when
// containerd deletes the container.
func (c *Container) stopped(state *hooks.State) error {
	if state != nil {
		if err := c.isFor(state); err != nil {
			return err
		}
	}
	if err := AwaitEmpty(c.context, c.Populated); err != nil {
		return err
	}
	c.enrolling.mu.Lock()
	defer c.enrolling.mu.Unlock()
	c.enrolling.over = true
	c.NoteDropped() // the counter is released
	return bpf.Release(c.plan.Paths, c.plan.Identity.Key)
}

// Populated reports whether the container has processes. See the function Populated.
func (c *Container) Populated() bool {
	where := c.Where()
	return where.PID != 0 && where.Populated() || Populated(c.plan.Paths, c.plan.Identity.Key)
}

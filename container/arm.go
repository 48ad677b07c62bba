package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/hooks"
)

const (
	// armPoll is how soon a container's guard is looked for again after its start, and
	// armPollMost how often where it takes longer: a hundred may start at once.
	armPoll     = 10 * time.Millisecond
	armPollMost = 16 * armPoll
	// armGrace is how long a process may be seen to run the container's program
	// before its guard is: the kernel sets the one a moment before the other, and
	// under a CPU limit as small as they come that moment can be long.
	armGrace = 2 * time.Second
	// armDeadline is when to say that init takes long, and from when on to look every
	// statePoll: startContainer hooks, which run before the container's program, may take as
	// long as they like.
	armDeadline = 2 * time.Minute
)

// Watch looks after a container that has been started, until it is closed.
// before is the executable that init had until then: the runtime's. kill kills
// all processes of the container.
func (c *Container) Watch(before os.FileInfo, kill func(context.Context) error) {
	c.running.Go(func() { c.watchArmed(c.context, before, func() error { return kill(c.context) }) })
	c.running.Go(func() {
		select {
		case <-time.After(stays):
			giveBackSoon()
			c.watchState(c.context)
		case <-c.context.Done(): // none that is gone before is made slower for it
		}
	})
}

// stays is when a container counts as one that stays.
const stays = time.Second

// settled is how long no other container is waited for: all of a pod's, and of a
// crowd of pods that start at once, have started by then.
const settled = 10 * time.Second

// givingBack says that giveBackSoon has been called and its time has not come.
//
//nolint:gochecknoglobals // there is one heap
var givingBack atomic.Bool

// giveBackSoon returns the memory that creating containers took and nothing uses any
// more, once for all that are created until then.
func giveBackSoon() {
	if !givingBack.Swap(true) {
		time.AfterFunc(settled, func() {
			givingBack.Store(false)
			debug.FreeOSMemory()
		})
	}
}

// InitProgram tells the executable that init has now from others.
func (c *Container) InitProgram() (os.FileInfo, error) {
	return c.proc.exeID(c.origins.initProcess().pid)
}

// How often a container that was created is looked at that nobody starts yet.
const (
	startPoll     = 100 * time.Millisecond
	startPollSoon = 5 * time.Second // until then, as often as armPoll
)

// AwaitStart waits until init runs its own program; false where it ended before
// that was seen. before is the executable that it has until then.
func (c *Container) AwaitStart(ctx context.Context, before os.FileInfo) bool {
	init := c.origins.initProcess()
	for begin := time.Now(); ; {
		now, ended, _ := c.proc.program(init)
		switch {
		case ended:
			return false
		case now != nil && !os.SameFile(before, now):
			return true
		}
		poll := armPoll
		if time.Since(begin) > startPollSoon {
			poll = startPoll
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return false
		}
	}
}

// Armed tells whether the container's own program has run under guard.
func (c *Container) Armed() bool {
	if !c.attached() {
		return false
	}
	armed, err := c.kernel.Armed()
	return err == nil && armed
}

// watchArmed sees to it that the container's program runs under guard. before
// is the executable of its init when it was not yet started: the runtime's. A
// container whose program runs without a guard is killed, with all its processes.
func (c *Container) watchArmed(ctx context.Context, before os.FileInfo, kill func() error) {
	init := c.origins.initProcess()
	var running time.Time // since when init has been seen to run its own program
	poll, late := armPoll, false
	for begin := time.Now(); ; poll = min(2*poll, armPollMost) {
		// In this order: what is armed was armed before init's program ran.
		now, ended, err := c.proc.program(init)
		armed, armedErr := c.kernel.Armed()
		switch {
		case armed:
			return
		case ended:
			return
		case now != nil && (before == nil || !os.SameFile(before, now)):
			if running.IsZero() {
				running = time.Now()
			}
			if time.Since(running) > armGrace {
				c.killUnguarded(ctx, kill, armedErr)
				return
			}
		case !late && time.Since(begin) > armDeadline:
			late = true
			c.notice(event.SeverityWarning, lateInit(err))
		}
		if late && running.IsZero() {
			poll = statePoll
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return
		}
	}
}

// lateInit says that init has not been seen to start its program; err is why, where it could not be looked at.
func lateInit(err error) string {
	message := fmt.Sprintf("init was not seen to start its program within %v", armDeadline)
	if err != nil {
		message += fmt.Sprintf(" (%v)", err)
	}
	return message + fmt.Sprintf(": from now on, shimward checks every %v whether it is guarded; see what its startContainer hooks do", statePoll)
}

// killAll kills until nobody is left. Once is not always enough: the kernel sends
// the signal to the threads that lead a process, and one that takes the lead of its
// own just then, by an exec, gets none (__cgroup_kill, de_thread).
func (c *Container) killAll(ctx context.Context, kill func() error) error {
	err := kill()
	if hooks.AwaitEmpty(context.WithoutCancel(ctx), func() bool {
		left := hooks.Populated(c.plan.Paths, c.plan.Identity.Key)
		if left {
			err = kill()
		}
		return left
	}) != nil {
		const left = "processes remain in its cgroup although they were killed repeatedly"
		if err != nil {
			return fmt.Errorf(left+": %w", err)
		}
		return errors.New(left)
	}
	if _, unknown := hooks.ReadEnrolment(c.plan.Paths, c.plan.Identity.Key); unknown != nil {
		return err
	}
	return nil // whatever the runtime said of who was already gone
}

func (c *Container) killUnguarded(ctx context.Context, kill func() error, why error) {
	message := "the container ran without its guard, and was killed"
	if err := c.killAll(ctx, kill); err != nil {
		message = fmt.Sprintf("the container runs without its guard, and could not be killed (%v)", err)
	}
	if why != nil {
		message += ": " + why.Error()
	}
	c.notice(event.SeverityCritical, message)
	c.logger(ctx).Error("shimward: " + message)
}

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
)

const (
	// armPoll is how soon after a container's start shimward checks again whether its guard is in
	// place. The interval then doubles up to armPollMost, because a hundred containers may start at
	// once.
	armPoll     = 10 * time.Millisecond
	armPollMost = 16 * armPoll
	// armGrace is how long a process may be seen to run the container's program before its guard is
	// seen. The kernel sets the executable a moment before the guard, and under the smallest CPU
	// limits that moment can be long.
	armGrace = 2 * time.Second
	// armDeadline is when a slow init is reported, and from when on it is checked every statePoll:
	// startContainer hooks, which run before the container's program, may take as long as they
	// like.
	armDeadline = 2 * time.Minute
)

// Watch watches a started container, until it is closed. before is the executable that init had
// before the start: the runtime's. kill kills all processes of the container.
func (c *Container) Watch(before os.FileInfo, kill func(context.Context) error) {
	c.running.Go(func() { c.watchArmed(c.context, before, func() error { return kill(c.context) }) })
	c.running.Go(func() {
		select {
		case <-time.After(stays):
			giveBackSoon()
			c.watchState(c.context)
		case <-c.context.Done(): // a container that ends earlier is not slowed down by this
		}
	})
}

// stays is the age from which on a container is expected to stay.
const stays = time.Second

// settled is how long to wait until no other container is about to start: by then, all containers
// of a pod, and of many pods that start at once, have started.
const settled = 10 * time.Second

// givingBack says that giveBackSoon has been called and its timer has not fired yet.
//
//nolint:gochecknoglobals // there is one heap
var givingBack atomic.Bool

// giveBackSoon returns memory to the kernel that creating containers took and nothing uses any more.
// It does so once, after settled, for all containers that are created until then.
func giveBackSoon() {
	if !givingBack.Swap(true) {
		time.AfterFunc(settled, func() {
			givingBack.Store(false)
			debug.FreeOSMemory()
		})
	}
}

// InitProgram returns what distinguishes the executable that init has now from others.
func (c *Container) InitProgram() (os.FileInfo, error) {
	return c.proc.exeID(c.origins.initProcess().pid)
}

// How often AwaitStart checks a container that was created and has not been started yet.
const (
	startPoll     = 100 * time.Millisecond
	startPollSoon = 5 * time.Second // AwaitStart checks every armPoll for this long
)

// AwaitStart waits until init runs its own program. It returns false if init ended before that was
// seen, or ctx is done. before is the executable that init has until then.
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

// Armed reports whether the container's own program has run under guard.
func (c *Container) Armed() bool {
	if !c.attached() {
		return false
	}
	armed, err := c.kernel.Armed()
	return err == nil && armed
}

// watchArmed makes sure that the container's program runs under guard: a container whose program
// runs without a guard is killed, with all its processes. before is the executable that init had
// before it was started: the runtime's.
func (c *Container) watchArmed(ctx context.Context, before os.FileInfo, kill func() error) {
	init := c.origins.initProcess()
	var running time.Time // when init was first seen to run its own program
	poll, late := armPoll, false
	for begin := time.Now(); ; poll = min(2*poll, armPollMost) {
		// The program is read first: a container that is armed was armed before init's program ran.
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

// lateInit returns the notice that init has not been seen to start its program. err is the reason
// if init could not be examined.
func lateInit(err error) string {
	message := fmt.Sprintf("init was not seen to start its program within %v", armDeadline)
	if err != nil {
		message += fmt.Sprintf(" (%v)", err)
	}
	return message + fmt.Sprintf(": from now on, shimward checks every %v whether it is guarded; see what its startContainer hooks do", statePoll)
}

// killAll kills until no process is left. One kill is not always enough: the kernel signals the
// thread group leaders, and misses a thread that is just becoming its group's leader by an exec
// (__cgroup_kill, de_thread).
func (c *Container) killAll(ctx context.Context, kill func() error) error {
	err := kill()
	if AwaitEmpty(context.WithoutCancel(ctx), func() bool {
		left := Populated(c.plan.Paths, c.plan.Identity.Key)
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
	if _, unknown := ReadEnrolment(c.plan.Paths, c.plan.Identity.Key); unknown != nil {
		return err
	}
	return nil // ignore errors of the runtime about processes that were already gone
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

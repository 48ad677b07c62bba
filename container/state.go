package container

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shimward/shimward/event"
)

// statePoll is how often the shim looks after what a container that stays has on the node.
const statePoll = 10 * time.Second

// watchState keeps the container's guard in the kernel, and says so, once for
// each, where somebody takes its pins or its files away. Pins keep a guard beyond
// the shim's death; while the shim lives, it holds what they stand for.
func (c *Container) watchState(ctx context.Context) {
	held := c.kernel.Hold()
	ticker := time.NewTicker(statePoll)
	defer ticker.Stop()
	var toldPins, toldFiles bool
	for {
		pins, files := c.kernel.Pinned(), c.Intact()
		if held != nil {
			pins = held
		}
		if pins == nil && files == nil || toldPins && toldFiles {
			select {
			case <-ticker.C:
				continue
			case <-ctx.Done():
				return
			}
		}
		select { // the container may be about to be deleted, and its poststop hook faster than that
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		switch {
		case pins == nil || toldPins:
		case held != nil:
			c.notice(event.SeverityCritical, fmt.Sprintf("somebody removed the pins of the container's guard, and with them the guard (%v): "+
				"recreate the container, and see who cleans %s", pins, c.plan.Paths.BPF))
			toldPins = true
		default:
			c.notice(event.SeverityCritical, fmt.Sprintf("somebody removed the pins of the container's guard (%v): "+
				"it holds while the container's %s lives; recreate the container, and see who cleans %s", pins, hostOf(c.plan), c.plan.Paths.BPF))
			toldPins = true
		}
		if files != nil && !toldFiles {
			c.notice(event.SeverityCritical, fmt.Sprintf("somebody removed or replaced the container's state (%v): "+
				"it is guarded still, and cannot be exec'ed into; recreate it, and see who cleans %s", files, c.plan.Paths.Run))
			toldFiles = true
		}
	}
}

// Intact is an error where the listener's socket is gone, which the runtime looks
// for at each exec, or where another is in its place: that one would get the
// listeners of what is exec'ed.
func (c *Container) Intact() error {
	if !c.listens {
		return nil
	}
	path := c.plan.Paths.Notify(c.plan.Identity.Key)
	socket, err := os.Lstat(path)
	if err == nil && c.socket != nil && !os.SameFile(c.socket, socket) {
		return fmt.Errorf("%s is not the socket that shimward made", path)
	}
	return err
}

package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/shimward/shimward/event"
)

// statePoll is how often the shim checks what a container that stays has on the node.
const statePoll = 10 * time.Second

// errUnheld says that the container's guard has not been held yet.
var errUnheld = errors.New("not yet")

// watchState keeps the container's guard in the kernel. It records a notice, one each time, if
// somebody removes the container's pins or files, or makes the kernel stop calling the guard. Pins
// keep a guard beyond the shim's death; while the shim lives, it also holds what they refer to.
func (c *Container) watchState(ctx context.Context) {
	unheld := errUnheld
	losses := []struct {
		find func() error
		say  func(error) string
		how  event.Severity
	}{
		{
			func() error {
				if unheld != nil {
					unheld = c.kernel.Hold()
				}
				if errors.Is(unheld, fs.ErrNotExist) {
					return unheld
				}
				return c.kernel.Pinned()
			},
			func(err error) string { return c.lostPins(unheld, err) },
			event.SeverityCritical,
		},
		{
			func() error {
				if errors.Is(unheld, fs.ErrNotExist) {
					return nil // reported above
				}
				return unheld
			},
			func(err error) string {
				return fmt.Sprintf("the %s cannot hold the container's guard (%v): it stays guarded only as long as nobody removes the pins in %s; "+
					"shimward tries again every %v, find out what the %s lacks", hostOf(c.plan), err, c.plan.Paths.BPF, statePoll, hostOf(c.plan))
			},
			event.SeverityWarning,
		},
		{c.Intact, func(err error) string {
			return fmt.Sprintf("somebody removed or replaced the container's state (%v): "+
				"it is still guarded, but nothing can be exec'ed into it; recreate it, and find out what cleans %s", err, c.plan.Paths.Run)
		}, event.SeverityCritical},
		{c.kernel.Called, func(err error) string {
			return fmt.Sprintf("the programs that refuse accesses on this node are switched off (%v): until then only seccomp and the access sensor guard the container, "+
				"and no other container can be created", err)
		}, event.SeverityCritical},
	}
	ticker := time.NewTicker(statePoll)
	defer ticker.Stop()
	told := make([]bool, len(losses))
	for {
		found := make([]error, len(losses))
		for i, loss := range losses {
			found[i] = loss.find()
		}
		select { // wait first: the container may be about to be deleted, and its poststop hook may be faster than this loop
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for i, err := range found {
			if err != nil && !told[i] {
				c.notice(losses[i].how, losses[i].say(err))
			}
			told[i] = err != nil
		}
	}
}

func (c *Container) lostPins(unheld, err error) string {
	if unheld != nil {
		return fmt.Sprintf("somebody removed the pins of the container's guard, and with them the guard (%v): "+
			"recreate the container, and find out what cleans %s", err, c.plan.Paths.BPF)
	}
	return fmt.Sprintf("somebody removed the pins of the container's guard (%v): "+
		"it holds while the container's %s lives; recreate the container, and find out what cleans %s", err, hostOf(c.plan), c.plan.Paths.BPF)
}

// Intact returns an error if the listener's socket, which the runtime looks for at each exec, is
// gone or has been replaced: another socket would get the listeners of exec'ed processes.
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

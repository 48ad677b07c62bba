package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/shimward/shimward/event"
)

// Events returns the container's events from the store, in order of time, or all of the node's
// events if id is empty. After a container is deleted, its events are complete.
func (n *Node) Events(ctx context.Context, id string) ([]event.Event, error) {
	var events []event.Event
	var skipped uint64
	reader := event.Reader{Dir: n.Paths.Log, Skipped: func(_ string, lines uint64) { skipped += lines }}
	err := reader.Read(ctx, func(e event.Event) error {
		if id == "" || e.Container.ID == id {
			events = append(events, e)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && skipped > 0 {
		err = fmt.Errorf("%d lines of the event store could not be read", skipped)
	}
	return events, err
}

// errFound ends the reader once the event it waits for is found.
var errFound = errors.New("found")

// WaitEvent waits for an event of the container for which match returns true.
func (n *Node) WaitEvent(ctx context.Context, id string, match func(event.Event) bool) (event.Event, error) {
	var found event.Event
	reader := event.Reader{Dir: n.Paths.Log}
	err := reader.Follow(ctx, func(e event.Event) error {
		if e.Container.ID == id && match(e) {
			found = e
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return found, nil
	}
	if err == nil { // Follow returns nil when its context is done
		err = ctx.Err()
	}
	return event.Event{}, fmt.Errorf("wait for an event of container %s: %w", id, err)
}

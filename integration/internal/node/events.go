package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/shimward/shimward/event"
)

// Events are what the store has of a container, in the order of time; all of
// the node's for an empty id. What a deleted container did is all there.
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

// errFound ends a reader that has what it was to wait for.
var errFound = errors.New("found")

// WaitEvent waits for an event of the container that match is true of.
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
	if err == nil { // Follow ends quietly with its context
		err = ctx.Err()
	}
	return event.Event{}, fmt.Errorf("wait for an event of container %s: %w", id, err)
}

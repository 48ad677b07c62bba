package event

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// lookahead is the number of events of one container that are compared with other containers' at a
// time. A Folder delays events, so they are not quite in order.
const lookahead = 16

// Reader reads the event store of a node, merging all containers by time.
type Reader struct {
	// Dir is the store: policy.Paths.Log.
	Dir    string
	Filter Filter
	// Skipped, if set, is called with the number of lines of a folder that could not be read.
	Skipped func(folder string, lines uint64)
}

// Read passes all events that exist to yield, in order of time. If yield returns an error, Read
// stops and returns it. If there is no store, the error is fs.ErrNotExist.
func (r *Reader) Read(ctx context.Context, yield func(Event) error) error {
	streams, err := r.streams()
	if err != nil {
		return err
	}
	merged := r.merge(ctx, streams, yield)
	var failed []error
	for _, one := range streams {
		r.report(one)
		failed = append(failed, one.close())
	}
	return errors.Join(append([]error{merged}, failed...)...)
}

func (r *Reader) streams() ([]*stream, error) {
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	var streams []*stream
	for _, entry := range entries {
		if entry.IsDir() {
			streams = append(streams, &stream{dir: filepath.Join(r.Dir, entry.Name())})
		}
	}
	return streams, nil
}

// merge reads each stream to its current end.
func (r *Reader) merge(ctx context.Context, streams []*stream, yield func(Event) error) error {
	var queue eventQueue
	refill := func(from int) error {
		e, err := streams[from].next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		queue.arrived++
		heap.Push(&queue, queued{event: e, from: from, arrived: queue.arrived})
		return nil
	}
	for from := range streams {
		for range lookahead {
			if err := refill(from); err != nil {
				return err
			}
		}
	}
	for queue.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, _ := heap.Pop(&queue).(queued)
		if err := refill(first.from); err != nil {
			return err
		}
		if !r.Filter.Matches(&first.event) {
			continue
		}
		if err := yield(first.event); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) report(one *stream) {
	if one.skipped > 0 && r.Skipped != nil {
		r.Skipped(one.dir, one.skipped)
	}
	one.skipped = 0
}

type queued struct {
	event   Event
	from    int    // index of its stream
	arrived uint64 // keeps events with the same time in the order in which they were stored
}

// eventQueue is a heap with the earliest event first.
type eventQueue struct {
	items   []queued
	arrived uint64
}

func (q *eventQueue) Len() int      { return len(q.items) }
func (q *eventQueue) Swap(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *eventQueue) Less(i, j int) bool {
	a, b := &q.items[i], &q.items[j]
	return cmp.Or(a.event.Time.Compare(b.event.Time), cmp.Compare(a.arrived, b.arrived)) < 0
}

func (q *eventQueue) Push(item any) {
	if one, ok := item.(queued); ok {
		q.items = append(q.items, one)
	}
}

func (q *eventQueue) Pop() any {
	last := q.items[len(q.items)-1]
	q.items[len(q.items)-1] = queued{}
	q.items = q.items[:len(q.items)-1]
	return last
}

package event

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// settle is how long Follow waits for more events before it sorts them, so that what several
// containers write at about the same time is shown in order of time.
const settle = 50 * time.Millisecond

// Follow is like Read, but continues with the events written from then on until ctx is done; then
// it returns nil. It creates the store's folder if there is none yet.
func (r *Reader) Follow(ctx context.Context, yield func(Event) error) error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow events: %w (is fs.inotify.max_user_instances reached?)", err)
	}
	follow := &follower{reader: r, watcher: watcher, streams: map[string]*stream{}, yield: yield}
	err = follow.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return errors.Join(err, follow.close())
}

type follower struct {
	reader  *Reader
	watcher *fsnotify.Watcher
	streams map[string]*stream // by folder
	ended   []*stream          // streams of replaced folders, which may not be read to their end yet
	yield   func(Event) error
}

func (f *follower) run(ctx context.Context) error {
	if err := f.watcher.Add(f.reader.Dir); err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	if err := f.discover(); err != nil { // watches are set first, so nothing is lost between Read and wait
		return err
	}
	if err := f.drain(ctx); err != nil {
		return err
	}
	for {
		if err := f.wait(ctx); err != nil {
			return err
		}
		if err := f.drain(ctx); err != nil {
			return err
		}
	}
}

// wait returns once something has changed and a moment has passed for further changes.
func (f *follower) wait(ctx context.Context) error {
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-settled:
			return nil
		case change, ok := <-f.watcher.Events:
			if !ok {
				return errors.New("follow events: the watch has ended")
			}
			if err := f.changed(change); err != nil {
				return err
			}
		case err, ok := <-f.watcher.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow events: %w", err)
			}
			if err := f.discover(); err != nil { // the lost notifications may have been of a new folder
				return err
			}
		}
		if settled == nil {
			settled = time.After(settle)
		}
	}
}

func (f *follower) changed(change fsnotify.Event) error {
	if filepath.Dir(change.Name) != filepath.Clean(f.reader.Dir) {
		return nil
	}
	if change.Has(fsnotify.Create) {
		return f.watch(change.Name)
	}
	return nil
}

func (f *follower) discover() error {
	streams, err := f.reader.streams()
	if err != nil {
		return err
	}
	for _, one := range streams {
		if err := f.watch(one.dir); err != nil {
			return err
		}
	}
	return nil
}

// watch starts to follow a folder. A folder of the same name that was followed before may have been
// deleted meanwhile.
func (f *follower) watch(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return nil //nolint:nilerr // it is gone again, or none of the store's
	}
	if err := f.watcher.Add(dir); err != nil {
		if _, gone := os.Lstat(dir); gone != nil {
			return nil //nolint:nilerr // deleted between the two
		}
		return fmt.Errorf("follow events: %w (is fs.inotify.max_user_watches reached?)", err)
	}
	old := f.streams[dir]
	if old != nil && old.here() {
		return nil
	}
	fresh, err := openStream(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // deleted between the two
	}
	if err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	if old != nil {
		f.ended = append(f.ended, old)
	}
	f.streams[dir] = fresh
	return nil
}

// drain yields new events in order of time, and drops folders that no longer exist.
func (f *follower) drain(ctx context.Context) error {
	streams := slices.Clone(f.ended)
	for _, dir := range slices.Sorted(maps.Keys(f.streams)) {
		streams = append(streams, f.streams[dir])
	}
	if err := f.reader.merge(ctx, streams, f.yield); err != nil {
		return err
	}
	var failed []error
	for _, one := range streams {
		f.reader.report(one)
		if f.streams[one.dir] == one {
			if one.here() {
				continue
			}
			delete(f.streams, one.dir)
		}
		failed = append(failed, one.close())
	}
	f.ended = nil
	return errors.Join(failed...)
}

func (f *follower) close() error {
	failed := []error{f.watcher.Close()}
	for _, one := range slices.AppendSeq(f.ended, maps.Values(f.streams)) {
		failed = append(failed, one.close())
	}
	return errors.Join(failed...)
}

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

// settle is how long Follow waits for more before it sorts what has come: what
// several containers write in a moment is then shown in the order of time.
const settle = 50 * time.Millisecond

// Follow is Read, and goes on with what is written from then on, until ctx is
// done: then it returns nil. It makes the store's folder where there is none yet.
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
	ended   []*stream          // of folders that were replaced, which may not be read to their end
	yield   func(Event) error
}

func (f *follower) run(ctx context.Context) error {
	if err := f.watcher.Add(f.reader.Dir); err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	if err := f.discover(); err != nil { // watches come first, so nothing falls between Read and the wait
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

// wait returns once something has changed, and a moment has passed in which more could.
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
			if err := f.discover(); err != nil { // what was missed may have been a new folder
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

// watch begins to follow a folder. One of the same name that was followed before may have been deleted meanwhile.
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

// drain yields what is new, in the order of time, and lets go of folders that are no more.
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

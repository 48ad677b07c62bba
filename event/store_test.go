package event

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func openStore(t *testing.T, dir string, maxBytes int64) *Store {
	t.Helper()
	store, err := OpenStore(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func notice(id, message string, at time.Duration) Event {
	return Event{Time: moment(at), Kind: KindNotice, Container: Container{ID: id, Namespace: "n"}, Message: message}
}

func appendAll(t *testing.T, store *Store, events ...Event) {
	t.Helper()
	for _, e := range events {
		if err := store.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func messages(t *testing.T, reader *Reader) []string {
	t.Helper()
	var got []string
	if err := reader.Read(t.Context(), func(e Event) error {
		got = append(got, e.Message)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func wantMessages(t *testing.T, reader *Reader, want ...string) {
	t.Helper()
	if got := messages(t, reader); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStoreMergesByTime(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	a, b := openStore(t, filepath.Join(log, "a"), 1<<20), openStore(t, filepath.Join(log, "b"), 1<<20)
	appendAll(t, a, notice("a", "1", 1), notice("a", "4", 4), notice("a", "3", 3)) // a Folder held 3 back
	appendAll(t, b, notice("b", "2", 2), notice("b", "5", 5), notice("b", "5 too", 5))
	wantMessages(t, &Reader{Dir: log}, "1", "2", "3", "4", "5", "5 too")
	for _, path := range []string{log, filepath.Join(log, "a")} {
		wantPerm(t, path, 0o700)
	}
	wantPerm(t, filepath.Join(log, "a", fileCurrent), 0o600)
}

func wantPerm(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode() &^ fs.ModeDir; got != want {
		t.Errorf("%s has mode %v, want %v", path, got, want)
	}
}

func TestStoreReopens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	first := openStore(t, dir, 1<<20)
	appendAll(t, first, notice("a", "1", 1))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Append(notice("a", "lost", 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	appendAll(t, openStore(t, dir, 1<<20), notice("a", "2", 2))
	wantMessages(t, &Reader{Dir: filepath.Dir(dir)}, "1", "2")
}

// A line torn by a crash must not corrupt the next one.
func TestStoreAfterACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	store := openStore(t, dir, 1<<20)
	appendAll(t, store, notice("a", "1", 1))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, fileCurrent), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"schema":"shimward.dev/ev`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, openStore(t, dir, 1<<20), notice("a", "2", 2))
	var skipped uint64
	wantMessages(t, &Reader{Dir: filepath.Dir(dir), Skipped: func(_ string, lines uint64) { skipped += lines }}, "1", "2")
	if skipped != 1 {
		t.Errorf("%d lines skipped, want 1", skipped)
	}
}

func TestStoreIsBounded(t *testing.T) {
	log := t.TempDir()
	dir := filepath.Join(log, "a")
	const limit = minStore
	store := openStore(t, dir, limit)
	const count = 5000
	for i := range count {
		appendAll(t, store, notice("a", fmt.Sprintf("number %04d %s", i, strings.Repeat("x", 100)), time.Duration(i)*time.Second))
	}
	size, _, ok := measure(dir)
	if !ok || size > limit {
		t.Errorf("%d bytes, want at most %d", size, limit)
	}
	got := messages(t, &Reader{Dir: log})
	if !strings.HasPrefix(got[0], "number 0000") {
		t.Errorf("the first event was washed away: %q", got[0])
	}
	last := slices.IndexFunc(got, func(m string) bool { return strings.HasPrefix(m, fmt.Sprintf("number %04d", count-1)) })
	if last < 0 {
		t.Error("the last event is not there")
	}
	if !slices.ContainsFunc(got, func(m string) bool { return strings.Contains(m, "event store is full") }) {
		t.Error("nothing says that events were dropped")
	}
}

func TestStoreHasOneWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	openStore(t, dir, 1<<20)
	if other, err := OpenStore(dir, 1<<20); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, %v", other, err)
	}
}

func TestStoreConcurrently(t *testing.T) {
	log := t.TempDir()
	store := openStore(t, filepath.Join(log, "a"), 1<<24)
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 200 {
				if err := store.Append(notice("a", fmt.Sprintf("%d-%d", worker, i), 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	got := messages(t, &Reader{Dir: log, Skipped: func(folder string, lines uint64) { t.Errorf("%d lines skipped in %s", lines, folder) }})
	slices.Sort(got)
	if len(slices.Compact(got)) != 1600 {
		t.Errorf("%d events", len(got))
	}
}

func TestSweep(t *testing.T) {
	log := t.TempDir()
	for i, name := range []string{"old", "middle", "new", "alive"} {
		store := openStore(t, filepath.Join(log, name), 1<<20)
		appendAll(t, store, notice(name, strings.Repeat("x", 500), 0))
		if name != "alive" {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{fileCurrent, fileLock} {
			at := moment(time.Duration(i) * time.Hour)
			if name == "alive" {
				at = moment(24 * time.Hour)
			}
			if err := os.Chtimes(filepath.Join(log, name, file), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range []string{"lost+found/x", "old/" + fileCurrent + displaced + "7/x"} {
		if err := os.MkdirAll(filepath.Join(log, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	others := filepath.Join(log, "others")
	if err := os.Mkdir(others, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fileLock, "precious"} {
		if err := os.WriteFile(filepath.Join(others, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		entries, err := os.ReadDir(log)
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, 0, len(entries))
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return strings.Join(names, " ")
	}
	for _, step := range []struct {
		bytes   int64
		ended   int
		deleted int
		left    string
	}{
		{1 << 20, 10, 0, "alive lost+found middle new old others"},
		{1 << 20, 3, 0, "alive lost+found middle new old others"},
		{1 << 20, 2, 1, "alive lost+found middle new others"},
		{1600, 10, 1, "alive lost+found new others"},
		{0, 0, 1, "alive lost+found others"},
	} {
		swept, err := Sweep(log, step.bytes, step.ended)
		if err != nil {
			t.Fatal(err)
		}
		if swept.Deleted != step.deleted || left() != step.left {
			t.Errorf("%d bytes, %d ended: %+v, left %s; want %s", step.bytes, step.ended, swept, left(), step.left)
		}
	}
	if _, err := os.Stat(filepath.Join(others, fileLock)); err != nil {
		t.Errorf("somebody else's file is gone: %v", err)
	}
	if _, err := Sweep(filepath.Join(log, "none"), 0, 0); err != nil {
		t.Errorf("no store: %v", err)
	}
}

// Containers are created while Sweep deletes others' events: none may lose what it wrote.
func TestSweepWhileContainersCome(t *testing.T) {
	log := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for ctx.Err() == nil {
			if _, err := Sweep(log, 0, 0); err != nil {
				t.Error(err)
			}
		}
	})
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			dir := filepath.Join(log, fmt.Sprint(worker))
			for i := range 100 {
				store, err := OpenStore(dir, 1<<20)
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				if err := store.Append(notice("x", fmt.Sprint(i), 0)); err != nil {
					t.Error(err)
				}
				content, err := os.ReadFile(filepath.Join(dir, fileCurrent))
				if err != nil || !strings.Contains(string(content), fmt.Sprintf(`"message":"%d"`, i)) {
					t.Errorf("what was written is gone: %v", err)
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	cancel()
	sweeper.Wait()
}

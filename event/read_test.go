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
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestFilter(t *testing.T) {
	log := t.TempDir()
	store := openStore(t, filepath.Join(log, "abc"), 1<<20)
	other := openStore(t, filepath.Join(log, "xyz"), 1<<20)
	first, second := accessEvent(), accessEvent()
	first.Message, second.Message = "access", "other"
	second.Container = Container{ID: "xyz", Namespace: "default"}
	second.Access.Target.Container = "defghi"
	second.Severity = SeverityWarning
	second.Time = moment(time.Hour)
	appendAll(t, store, first)
	appendAll(t, other, second, notice("xyz", "notice", 2*time.Hour))
	for name, test := range map[string]struct {
		filter Filter
		want   string
	}{
		"all":              {Filter{}, "access other notice"},
		"ID":               {Filter{Container: "abc"}, "access"},
		"ID's start":       {Filter{Container: "xy"}, "other notice"},
		"name":             {Filter{Container: "app"}, "access"},
		"start of a name":  {Filter{Container: "ap"}, ""},
		"pod":              {Filter{Container: "web-0"}, "access"},
		"namespace/pod":    {Filter{Container: "prod/web-0"}, "access"},
		"target":           {Filter{Container: "def"}, "access other"},
		"nobody":           {Filter{Container: "nobody"}, ""},
		"no pod, no name":  {Filter{Container: "/"}, ""},
		"severity":         {Filter{Severity: SeverityWarning}, "access other"},
		"unknown severity": {Filter{Severity: "loud"}, "access other notice"},
		"kind":             {Filter{Kinds: []Kind{KindNotice}}, "notice"},
		"since":            {Filter{Since: moment(time.Hour)}, "other notice"},
		"together":         {Filter{Container: "xyz", Severity: SeverityInfo, Since: moment(90 * time.Minute)}, "notice"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(messages(t, &Reader{Dir: log, Filter: test.filter}), " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReadWithoutAStore(t *testing.T) {
	reader := &Reader{Dir: filepath.Join(t.TempDir(), "none")}
	err := reader.Read(t.Context(), func(Event) error { return nil })
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestReadEndsWithYieldsError(t *testing.T) {
	log := t.TempDir()
	appendAll(t, openStore(t, filepath.Join(log, "a"), 1<<20), notice("a", "1", 1), notice("a", "2", 2))
	enough := errors.New("enough")
	calls := 0
	err := (&Reader{Dir: log}).Read(t.Context(), func(Event) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

// Whatever the folder contains, events are shown and everything else is counted.
func TestReadGarbage(t *testing.T) {
	log := t.TempDir()
	dir := filepath.Join(log, "a")
	if err := os.MkdirAll(filepath.Join(log, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(log, "stray"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := func(message string) string {
		line, err := Line(notice("a", message, 0))
		if err != nil {
			t.Fatal(err)
		}
		return string(line)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	content := "\x00\x01\n" + good("1") + "\n\n  \n" + strings.Repeat("y", 10*MaxLine) + "\n" + good("2") +
		strings.Repeat(" ", MaxLine-1) + "\n" + good("3") + "{}\n" + strings.Repeat("z", 5*MaxLine)
	if err := os.WriteFile(filepath.Join(dir, fileOlder), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileCurrent), []byte(good("4")), 0o600); err != nil {
		t.Fatal(err)
	}
	var skipped uint64
	wantMessages(t, &Reader{Dir: log, Skipped: func(_ string, lines uint64) { skipped += lines }}, "1", "2", "3", "4")
	if skipped != 4 {
		t.Errorf("%d lines skipped, want 4", skipped)
	}
}

// Canceling the context ends reading even within a file that has no event, however long it is.
func TestReadEndsWithinAFile(t *testing.T) {
	log := t.TempDir()
	appendAll(t, openStore(t, filepath.Join(log, "a"), 1<<20), notice("a", "1", 0))
	if err := os.Truncate(filepath.Join(log, "a", fileCurrent), 1<<40); err != nil { // sparse
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- (&Reader{Dir: log}).Read(ctx, func(Event) error { return nil }) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("reads on")
	}
}

// follow runs Follow until the test ends, and returns a channel of what it yields.
func follow(t *testing.T, reader *Reader) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 100_000)
	done := make(chan error, 1)
	go func() {
		done <- reader.Follow(ctx, func(e Event) error {
			got <- e.Message
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	return got
}

func wantNext(t *testing.T, got <-chan string, want ...string) {
	t.Helper()
	for _, one := range want {
		select {
		case message := <-got:
			if message != one {
				t.Fatalf("got %q, want %q", message, one)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("waited in vain for %q", one)
		}
	}
}

func TestFollow(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	old := openStore(t, filepath.Join(log, "old"), 1<<20)
	appendAll(t, old, notice("old", "before", 0))
	got := follow(t, &Reader{Dir: log})
	wantNext(t, got, "before")
	appendAll(t, old, notice("old", "after", 1))
	wantNext(t, got, "after")
	fresh := openStore(t, filepath.Join(log, "fresh"), 1<<20)
	appendAll(t, fresh, notice("fresh", "new container", 2))
	wantNext(t, got, "new container")
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep(log, 0, 0); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, filepath.Join(log, "fresh"), 1<<20)
	appendAll(t, again, notice("fresh", "the same name again", 3))
	wantNext(t, got, "the same name again")
	appendAll(t, again, notice("fresh", "and again", 4))
	wantNext(t, got, "and again")
}

// After the watch overflows, the folders are discovered anew, and no event is yielded twice.
func TestFollowDiscoversOnce(t *testing.T) {
	log := t.TempDir()
	appendAll(t, openStore(t, filepath.Join(log, "a"), 1<<20), notice("a", "1", 0))
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	following := &follower{
		reader: &Reader{Dir: log}, watcher: watcher, streams: map[string]*stream{},
		yield: func(e Event) error { got = append(got, e.Message); return nil },
	}
	defer func() {
		if err := following.close(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if err := errors.Join(following.discover(), following.drain(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []string{"1"}) {
		t.Errorf("got %q", got)
	}
}

// A folder with the name, and perhaps the inode number, of one that was followed is read from its
// beginning, and the rest of the old one is read to its end.
func TestFollowReplacedFolder(t *testing.T) {
	log := t.TempDir()
	dir := filepath.Join(log, "a")
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	following := &follower{
		reader: &Reader{Dir: log, Filter: Filter{Kinds: []Kind{KindExec}}}, watcher: watcher, streams: map[string]*stream{},
		yield: func(e Event) error { got = append(got, e.Message); return nil },
	}
	defer func() {
		if err := following.close(); err != nil {
			t.Error(err)
		}
	}()
	var want []string
	write := func(store *Store, message string) {
		e := notice("a", message, time.Duration(len(want))*time.Second)
		e.Kind, e.Container.Image = KindExec, strings.Repeat("x", maxShort)
		appendAll(t, store, e)
		want = append(want, message)
	}
	for round := range 3 {
		store, err := OpenStore(dir, minStore)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			write(store, fmt.Sprintf("%d-%d", round, i))
			if _, err := os.Lstat(filepath.Join(dir, fileFirst)); err == nil {
				break
			}
		}
		if err := errors.Join(following.discover(), following.drain(t.Context())); err != nil {
			t.Fatal(err)
		}
		write(store, fmt.Sprintf("%d, unread when the folder goes", round))
		if err := errors.Join(store.Close(), os.RemoveAll(dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := following.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFollowBeforeThereIsAStore(t *testing.T) {
	log := filepath.Join(t.TempDir(), "a", "log")
	got := follow(t, &Reader{Dir: log})
	appendAll(t, openStore(t, filepath.Join(log, "c"), 1<<20), notice("c", "first", 0))
	wantNext(t, got, "first")
}

// A reader that keeps up sees each event once, whatever is renamed meanwhile.
func TestFollowThroughRotations(t *testing.T) {
	log := t.TempDir()
	store := openStore(t, filepath.Join(log, "a"), minStore)
	got := follow(t, &Reader{Dir: log, Filter: Filter{Kinds: []Kind{KindExec}}})
	const count, batch = 3000, 100
	for i := range count {
		e := notice("a", fmt.Sprint(i), time.Duration(i)*time.Second)
		e.Kind, e.Container.Image = KindExec, strings.Repeat("x", 200)
		appendAll(t, store, e)
		if i%batch == batch-1 {
			for seen := i - batch + 1; seen <= i; seen++ {
				wantNext(t, got, fmt.Sprint(seen))
			}
		}
	}
	if _, err := os.Stat(filepath.Join(log, "a", fileOlder)); err != nil {
		t.Errorf("nothing was rotated: %v", err)
	}
}

// Reading while files are renamed yields no event twice, and none out of order.
func TestReadThroughRotations(t *testing.T) {
	log := t.TempDir()
	store := openStore(t, filepath.Join(log, "a"), minStore)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			e := notice("a", fmt.Sprintf("%08d", i), time.Duration(i)*time.Second)
			e.Kind = KindExec
			if err := store.Append(e); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	reader := &Reader{Dir: log, Filter: Filter{Kinds: []Kind{KindExec}}, Skipped: func(string, uint64) { t.Error("a line was skipped") }}
	for range 5 {
		var got []string
		ended := errors.New("enough")
		err := reader.Read(t.Context(), func(e Event) error {
			got = append(got, e.Message)
			if len(got) > 5_000 {
				return ended
			}
			return nil
		})
		if err != nil && !errors.Is(err, ended) {
			t.Fatal(err)
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Error("events out of order or twice")
		}
	}
	close(stop)
	<-done
}

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// A container that is deleted, or whose shim ends, before Attach has nothing in the kernel to
// query.
func TestUnattached(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	c.kernel, c.ready = nil, make(chan struct{})
	withStore(t, c)
	c.NoteDropped()
	if c.Armed() {
		t.Error("it is armed")
	}
	c.Close()
}

// The number of lost events must be kept until the store accepts the notice about them.
func TestUnstoredAreCounted(t *testing.T) {
	testenv.Root(t)
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	folder := c.plan.Paths.Events(c.plan.Identity.Key)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	if err := unix.Mount("none", folder, "tmpfs", 0, fmt.Sprintf("size=%d", page)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e := event.Event{Kind: event.KindDeleted, Time: time.Unix(1, 0), Container: c.identity()}
	line, err := event.Line(e)
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.Repeat(" ", page-len(line)-len("{}\n")-1) + "{}\n" // leaves room for one event
	if err := os.WriteFile(filepath.Join(folder, "events.jsonl"), []byte(fill), 0o600); err != nil {
		t.Fatal(err)
	}
	withStore(t, c)
	c.unstored.Store(3)
	c.emit(e) // stored, but the notice is not
	c.emit(e) // not stored
	if lost := c.unstored.Load(); lost != 4 {
		t.Errorf("%d events are said to be lost", lost)
	}
	if err := unix.Mount("none", folder, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", 4*page)); err != nil {
		t.Fatal(err)
	}
	c.emit(e)
	events := storedEvents(t, c)
	last := events[len(events)-1]
	if len(events) != 4 || last.Kind != event.KindNotice || !strings.HasPrefix(last.Message, "4 events could not be stored") || c.unstored.Load() != 0 {
		t.Errorf("stored %+v", events)
	}
	if err := c.store.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenOptions(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	withStore(t, c)
	var attached int
	options := c.listenOptions(nil, func(pid int) { attached = pid })
	if err := options.Attached(&specs.ContainerProcessState{Pid: 7, State: specs.State{ID: "mine"}}); err != nil || attached != 7 {
		t.Errorf("its own: %v, %d", err, attached)
	}
	if err := options.Attached(&specs.ContainerProcessState{State: specs.State{ID: "another"}}); err == nil {
		t.Error("took another's")
	}
	options.Ended(7, errors.New("no memory"))
	events := storedEvents(t, c)
	if len(events) != 1 || events[0].Severity != event.SeverityCritical || !strings.Contains(events[0].Message, "listener of process 7 ended (no memory)") {
		t.Errorf("recorded %+v", events)
	}
}

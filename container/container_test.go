package container

import (
	"errors"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
)

// A container that is deleted, or whose shim ends, before it was attached to has nothing in the kernel to ask.
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

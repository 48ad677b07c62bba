package container

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// hosted returns a container that is being created, with a host that answers its hooks, and undo.
func hosted(t *testing.T, pins string) (*Container, hooks.State, *Cleanup) {
	t.Helper()
	dir := testenv.ShortDir(t)
	config := policy.DefaultConfig()
	config.Paths = policy.Paths{Run: filepath.Join(dir, "run"), BPF: pins, Log: filepath.Join(dir, "log")}
	plan, err := config.Plan(policy.Facts{ID: "made", Namespace: "n", Bundle: dir})
	if err != nil {
		t.Fatal(err)
	}
	undo := &Cleanup{}
	t.Cleanup(undo.Run)
	c, err := open(t.Context(), plan, config.Store, undo)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Host(); err != nil {
		t.Fatal(err)
	}
	return c, hooks.State{ID: "made", PID: os.Getpid(), Bundle: dir}, undo
}

func (c *Container) tell(ctx context.Context, what string, state *hooks.State) error {
	return hooks.Tell(ctx, c.plan.Paths, c.plan.Identity.Key, hooks.Message{What: what, State: state})
}

func TestEnrol(t *testing.T) {
	c, state, undo := hosted(t, filepath.Join(testenv.BPF(t), "shimward"))
	paths, key := c.plan.Paths, c.plan.Identity.Key
	var cgroup string
	cgroup, state.PID = crowd(t)
	if err := c.Attach(state.PID); err == nil || !strings.Contains(err.Error(), "without its createRuntime hook") {
		t.Errorf("attached before it was enrolled: %v", err)
	}
	for range 2 { // runc before 1.2 does that
		if err := c.tell(t.Context(), hooks.MessageCreated, &state); err != nil {
			t.Fatal(err)
		}
	}
	if want := (Enrolment{PID: state.PID, Cgroup: cgroup}); c.Where() != want {
		t.Errorf("it is at %+v, want %+v", c.Where(), want)
	}
	if stored, err := ReadEnrolment(paths, key); err != nil || stored != c.Where() {
		t.Errorf("stored %+v, %v", stored, err)
	}
	another := state
	another.PID = os.Getpid()
	if err := c.tell(t.Context(), hooks.MessageCreated, &another); err == nil || !strings.Contains(err.Error(), "under guard already") {
		t.Errorf("another init: %v", err)
	}
	if err := c.tell(t.Context(), hooks.MessageStopped, &state); err == nil || !strings.Contains(err.Error(), "its guard stays") {
		t.Errorf("told that a living container was deleted: %v", err)
	}
	if err := c.Attach(os.Getpid()); err == nil || !strings.Contains(err.Error(), "the container is deleted") {
		t.Errorf("attached to another init: %v", err)
	}
	if err := c.Attach(state.PID); err != nil {
		t.Fatal(err)
	}
	if !enrolledNow(t, paths, key) {
		t.Error("it is not enrolled")
	}
	// A hook that gave up does not keep the container's guard from being released.
	undo.Run()
	if enrolledNow(t, paths, key) || exists(paths.Container(key)) || exists(paths.Pins(key)) {
		t.Error("something is left of it")
	}
	if err := c.tell(t.Context(), hooks.MessageCreated, &state); !errors.Is(err, hooks.ErrNoHost) {
		t.Errorf("afterwards: %v", err)
	}
}

// enrolledNow reports whether the kernel knows the container.
func enrolledNow(t *testing.T, paths policy.Paths, key string) bool {
	t.Helper()
	node, err := bpf.Open(bpf.NodeOptions{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	_, err = node.Armed(key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// Once its processes are gone, a container is released, and nothing more is done for its hooks.
func TestStopped(t *testing.T) {
	c, state, _ := hosted(t, filepath.Join(testenv.BPF(t), "shimward"))
	cgroup, pid := crowd(t)
	state.PID = pid
	if err := c.tell(t.Context(), hooks.MessageCreated, &state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.kill"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.tell(t.Context(), hooks.MessageStopped, &state); err != nil {
		t.Error(err)
	}
	if enrolledNow(t, c.plan.Paths, c.plan.Identity.Key) {
		t.Error("it is still enrolled")
	}
	if err := c.tell(t.Context(), hooks.MessageCreated, &state); err == nil || !strings.Contains(err.Error(), "being deleted") {
		t.Errorf("created again: %v", err)
	}
}

// What cannot be the container's hook must not have it enrolled, and must be told why.
func TestEnrolRefuses(t *testing.T) {
	testenv.Root(t) // the host answers nobody else
	c, state, _ := hosted(t, t.TempDir())
	for name, test := range map[string]struct {
		what   string
		change func(*hooks.State)
		want   string
	}{
		"another ID":       {hooks.MessageCreated, func(s *hooks.State) { s.ID = "other" }, "write a new config.json"},
		"another bundle":   {hooks.MessageCreated, func(s *hooks.State) { s.Bundle = "/other" }, "write a new config.json"},
		"no pid":           {hooks.MessageCreated, func(s *hooks.State) { s.PID = 0 }, "pid 0"},
		"no such process":  {hooks.MessageCreated, func(s *hooks.State) { s.PID = 1 << 22 }, "find the container's cgroup"},
		"no bpffs":         {hooks.MessageCreated, func(*hooks.State) {}, "load shimward's programs"},
		"the end of other": {hooks.MessageStopped, func(s *hooks.State) { s.ID = "other" }, "write a new config.json"},
		"something else":   {hooks.MessageExec, func(*hooks.State) {}, "does not know"},
	} {
		changed := state
		test.change(&changed)
		if err := c.tell(t.Context(), test.what, &changed); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := c.tell(t.Context(), hooks.MessageCreated, nil); err == nil || !strings.Contains(err.Error(), "no state") {
		t.Errorf("without a state: %v", err)
	}
	if c.Where() != (Enrolment{}) || exists(filepath.Join(c.plan.Paths.Container(c.plan.Identity.Key), enrolmentFile)) {
		t.Error("it was enrolled")
	}
}

// A container that is given up while a hook waits is not enrolled after that.
func TestEnrolTooLate(t *testing.T) {
	pins := filepath.Join(testenv.BPF(t), "shimward")
	c, state, undo := hosted(t, pins)
	_, state.PID = crowd(t)
	opened := make(chan struct{})
	goOn := make(chan struct{})
	c.enrolling.mu.Lock() // the host is listening already
	ensure := c.enrolling.open
	c.enrolling.open = func() (*bpf.Node, error) {
		close(opened)
		<-goOn
		return ensure()
	}
	c.enrolling.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.tell(ctx, hooks.MessageCreated, &state); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the hook: %v", err)
	}
	<-opened
	undone := make(chan struct{})
	go func() {
		undo.Run()
		close(undone)
	}()
	<-c.context.Done()
	close(goOn)
	<-undone
	if enrolledNow(t, c.plan.Paths, c.plan.Identity.Key) || exists(c.plan.Paths.Container(c.plan.Identity.Key)) {
		t.Error("something is left of it")
	}
}

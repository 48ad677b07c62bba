package container

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// storePlan stores the plan of a container "a" with its own bundle.
func storePlan(t *testing.T) (*policy.Plan, hooks.State) {
	t.Helper()
	config := policy.DefaultConfig()
	config.Paths = policy.Paths{Run: t.TempDir(), BPF: t.TempDir(), Log: t.TempDir()}
	bundle := t.TempDir()
	plan, err := config.Plan(policy.Facts{ID: "a", Namespace: "n", Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(plan.Paths.Container(plan.Identity.Key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan.Paths.Plan(plan.Identity.Key), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return plan, hooks.State{ID: "a", PID: 7, Bundle: bundle}
}

func TestPlanOf(t *testing.T) {
	plan, s := storePlan(t)
	got, err := planOf(plan.Paths.Run, s)
	if err != nil || got.Digest != plan.Digest {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := planOf("", s); err == nil || !strings.Contains(err.Error(), hooks.EnvRun) {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := planOf(plan.Paths.Run, hooks.State{ID: "b", Bundle: s.Bundle}); err == nil {
		t.Error("took another container's plan")
	}
	// This plan was moved here from another container.
	other := policy.Key("b", s.Bundle)
	if err := os.Rename(plan.Paths.Container(plan.Identity.Key), plan.Paths.Container(other)); err != nil {
		t.Fatal(err)
	}
	if _, err := planOf(plan.Paths.Run, hooks.State{ID: "b", Bundle: s.Bundle}); err == nil {
		t.Error("took a plan that is not this container's")
	}
}

func TestEnrolment(t *testing.T) {
	plan, _ := storePlan(t)
	key := plan.Identity.Key
	if _, err := ReadEnrolment(plan.Paths, key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it is enrolled: %v", err)
	}
	want := Enrolment{PID: 7, Cgroup: "/sys/fs/cgroup/a"}
	if err := writeEnrolment(plan, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadEnrolment(plan.Paths, key); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	path := filepath.Join(plan.Paths.Container(key), enrolmentFile)
	for _, text := range []string{``, `null`, `{"pid":0,"cgroup":"/a"}`, `{"pid":1,"cgroup":"a"}`, `[]`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadEnrolment(plan.Paths, key); err == nil {
			t.Errorf("took %q for %+v", text, got)
		}
	}
}

// Reading must not block on a pipe that was put in a file's place.
func TestReadPipes(t *testing.T) {
	plan, s := storePlan(t)
	key := plan.Identity.Key
	for _, path := range []string{plan.Paths.Plan(key), filepath.Join(plan.Paths.Container(key), enrolmentFile)} {
		_ = os.Remove(path)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := planOf(plan.Paths.Run, s); err == nil {
		t.Error("took a pipe for a plan")
	}
	if _, err := ReadEnrolment(plan.Paths, key); err == nil || !Populated(plan.Paths, key) {
		t.Errorf("a pipe says that there are no processes: %v", err)
	}
}

func TestReleaseBereft(t *testing.T) {
	for name, monitored := range map[string]bool{"its shim's": false, "its monitor's": true} {
		t.Run(name, func(t *testing.T) {
			plan, s := storePlan(t)
			key := plan.Identity.Key
			plan.Monitored = monitored
			if err := writePlan(plan); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			cgroup := t.TempDir()
			if err := writeEnrolment(plan, Enrolment{PID: 7, Cgroup: cgroup}); err != nil {
				t.Fatal(err)
			}
			populate(t, plan, "1")
			if err := ReleaseBereft(t.Context(), text, plan.Paths.Run); err == nil || !strings.Contains(err.Error(), "its guard stays") {
				t.Errorf("with processes: %v", err)
			}
			populate(t, plan, "0")
			for range 2 { // the second time, there is nothing left to do
				if err := ReleaseBereft(t.Context(), text, plan.Paths.Run); err != nil {
					t.Error(err)
				}
			}
			// A shim's `delete`, or the shim, does the rest.
			if left := exists(plan.Paths.Container(key)); left == monitored {
				t.Errorf("its folder is there: %v", left)
			}
			var events []event.Event
			if monitored {
				events = storedEvents(t, &Container{plan: plan})
			}
			if recorded := len(events) == 1 && strings.Contains(events[0].Message, "monitor"); recorded != monitored {
				t.Errorf("recorded %+v", events)
			}
		})
	}
	plan, _ := storePlan(t)
	for _, text := range []string{``, `{`, `{"id":"a","bundle":"b"}`} {
		if err := ReleaseBereft(t.Context(), []byte(text), plan.Paths.Run); err == nil {
			t.Errorf("took %q", text)
		}
	}
}

// Nobody but the host releases what a container has that is there.
func TestReleaseBereftOfTheLiving(t *testing.T) {
	testenv.Root(t) // the host answers nobody else
	plan, s := storePlan(t)
	plan.Paths.Run = testenv.ShortDir(t)
	if err := writePlan(plan); err != nil {
		t.Fatal(err)
	}
	server, err := hooks.Listen(plan.Paths.Host(plan.Identity.Key))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(ctx, func(m hooks.Message) error {
			told = append(told, m.What)
			return errors.New("it answers")
		})
	}()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := ReleaseBereft(t.Context(), text, plan.Paths.Run); err == nil || err.Error() != "it answers" {
		t.Errorf("got %v", err)
	}
	cancel()
	<-done
	if !slices.Equal(told, []string{hooks.MessageStopped}) || !exists(plan.Paths.Plan(plan.Identity.Key)) {
		t.Errorf("the host was told %q", told)
	}
}

package hooks

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

func TestReadState(t *testing.T) {
	for name, test := range map[string]struct{ stdin, want string }{
		"empty":           {``, "parse"},
		"not json":        {`hello`, "parse"},
		"no id":           {`{"bundle":"/b"}`, "started by an OCI runtime"},
		"no bundle":       {`{"id":"a"}`, "started by an OCI runtime"},
		"relative bundle": {`{"id":"a","bundle":"b"}`, "absolute bundle"},
		"pid not number":  {`{"id":"a","bundle":"/b","pid":"1"}`, "parse"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := readState(strings.NewReader(test.stdin)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("says %v, want %q in it", err, test.want)
			}
		})
	}
	s, err := readState(strings.NewReader(`{"ociVersion":"1.2","id":"a","status":"creating","pid":7,"bundle":"/b","annotations":{}}`))
	if err != nil || s != (state{ID: "a", PID: 7, Bundle: "/b"}) {
		t.Errorf("got %+v, %v", s, err)
	}
}

// storePlan stores the plan of a container "a" with its own bundle.
func storePlan(t *testing.T) (*policy.Plan, state) {
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
	return plan, state{ID: "a", PID: 7, Bundle: bundle}
}

func TestReadPlan(t *testing.T) {
	plan, s := storePlan(t)
	got, err := readPlan(plan.Paths.Run, s)
	if err != nil || got.Digest != plan.Digest {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := readPlan("", s); err == nil || !strings.Contains(err.Error(), EnvRun) {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := readPlan(plan.Paths.Run, state{ID: "b", Bundle: s.Bundle}); err == nil {
		t.Error("took another container's plan")
	}
	// This plan was moved here from another container.
	other := policy.Key("b", s.Bundle)
	if err := os.Rename(plan.Paths.Container(plan.Identity.Key), plan.Paths.Container(other)); err != nil {
		t.Fatal(err)
	}
	if _, err := readPlan(plan.Paths.Run, state{ID: "b", Bundle: s.Bundle}); err == nil {
		t.Error("took a plan that is not this container's")
	}
}

func TestEnrolment(t *testing.T) {
	plan, _ := storePlan(t)
	key := plan.Identity.Key
	if _, err := ReadEnrolment(plan.Paths, key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the hook: %v", err)
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
	if _, err := readPlan(plan.Paths.Run, s); err == nil {
		t.Error("took a pipe for a plan")
	}
	if _, err := ReadEnrolment(plan.Paths, key); err == nil || !Populated(plan.Paths, key) {
		t.Errorf("a pipe says that there are no processes: %v", err)
	}
}

// Poststop must not fail, whatever its input.
func TestPoststopNeverFails(t *testing.T) {
	for _, stdin := range []string{``, `{`, `{"id":"a","bundle":"/b"}`} {
		var log strings.Builder
		Poststop(t.Context(), strings.NewReader(stdin), "relative", &log)
		if !strings.HasPrefix(log.String(), "shimward: ") || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%q: said %q", stdin, log.String())
		}
	}
}

func TestCreateRuntimeRefuses(t *testing.T) {
	plan, s := storePlan(t)
	for name, test := range map[string]struct{ stdin, run, want string }{
		"no state": {``, plan.Paths.Run, "state"},
		"no pid":   {`{"id":"a","bundle":"` + s.Bundle + `"}`, plan.Paths.Run, "pid 0"},
		"no plan":  {`{"id":"b","bundle":"` + s.Bundle + `","pid":1}`, plan.Paths.Run, "plan"},
		"no run":   {`{"id":"a","bundle":"` + s.Bundle + `","pid":1}`, "", EnvRun},
	} {
		t.Run(name, func(t *testing.T) {
			err := CreateRuntime(t.Context(), strings.NewReader(test.stdin), test.run)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("says %v, want %q in it", err, test.want)
			}
		})
	}
}

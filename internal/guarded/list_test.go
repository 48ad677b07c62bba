package guarded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// fakeKernel returns the counts that it contains, by key.
type fakeKernel map[string][]Count

func (k fakeKernel) Tier() access.Tier { return access.TierTracepoint }

func (k fakeKernel) Counts(key string) ([]Count, error) {
	counts, found := k[key]
	if !found {
		return nil, fmt.Errorf("counters: %w", fs.ErrNotExist)
	}
	return counts, nil
}

func (k fakeKernel) Armed(key string) (bool, error) {
	if _, found := k[key]; !found {
		return false, fmt.Errorf("container: %w", fs.ErrNotExist)
	}
	return len(k[key]) > 0, nil
}

type failing struct{ fakeKernel }

func (failing) Armed(string) (bool, error) { return false, errors.New("map lookup: no") }

func testPaths(t *testing.T) policy.Paths {
	t.Helper()
	dir := t.TempDir()
	return policy.Paths{Run: filepath.Join(dir, "run"), BPF: filepath.Join(dir, "bpf"), Log: filepath.Join(dir, "log")}
}

func writePlan(t *testing.T, paths policy.Paths, id string, annotations map[string]string) string {
	t.Helper()
	config := policy.DefaultConfig()
	config.Paths = paths
	plan, err := config.Plan(policy.Facts{ID: id, Namespace: "k8s.io", Bundle: "/run/bundle/" + id, Annotations: annotations})
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	key := plan.Identity.Key
	if err := os.MkdirAll(paths.Container(key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.Plan(key), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

func TestList(t *testing.T) {
	paths := testPaths(t)
	if containers, err := List(paths, nil); err != nil || len(containers) != 0 {
		t.Fatalf("an untouched node: %v, %v", containers, err)
	}
	busy := writePlan(t, paths, "busy", map[string]string{"shimward.dev/mode": "enforce"})
	fresh := writePlan(t, paths, "fresh", nil)
	writePlan(t, paths, "over", nil)
	if err := os.MkdirAll(paths.Container("half-created"), 0o700); err != nil {
		t.Fatal(err)
	}
	containers, err := List(paths, fakeKernel{
		busy: {
			{access.VectorPtrace, access.VerdictRefused, access.SensorSeccomp, 3},
			{access.VectorProcMem, access.VerdictKilled, access.SensorAccess, 1},
			{access.VectorPtrace, access.VerdictRefused, access.SensorLSM, 5},
		},
		fresh: {},
	})
	if err != nil || len(containers) != 3 {
		t.Fatalf("got %+v, %v", containers, err)
	}
	first := containers[0]
	if first.ID != "busy" || first.Mode != policy.ModeEnforce || first.State != StateArmed || first.Tier != access.TierTracepoint {
		t.Errorf("got %+v", first)
	}
	if first.Counts[0].Vector != access.VectorProcMem || first.Counts[1].Sensor != access.SensorLSM {
		t.Errorf("not in order: %+v", first.Counts)
	}
	if refused, killed := first.Total(access.VerdictRefused), first.Total(access.VerdictKilled); refused != 5 || killed != 1 {
		t.Errorf("got %d refused and %d killed, want 5 and 1", refused, killed)
	}
	if containers[1].State != StateWaiting || containers[2].State != StateGone {
		t.Errorf("got %s and %s, want waiting and gone", containers[1].State, containers[2].State)
	}
}

func TestListFails(t *testing.T) {
	paths := testPaths(t)
	key := writePlan(t, paths, "one", nil)
	if _, err := List(paths, failing{}); err == nil || !strings.Contains(err.Error(), "container one: map lookup") {
		t.Errorf("a kernel that fails: %v", err)
	}
	if err := os.WriteFile(paths.Plan(key), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := List(paths, nil); err == nil || !strings.Contains(err.Error(), paths.Plan(key)) {
		t.Errorf("a broken plan: %v", err)
	}
	if err := errors.Join(os.Remove(paths.Plan(key)), unix.Mkfifo(paths.Plan(key), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := List(paths, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe that nobody writes to: %v", err)
	}
}

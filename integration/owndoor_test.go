package integration

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// TestOwnDoor checks a process that was allowed to attach to a process of its own container: it may
// do anything there, also to that process's children, but gets no further. See testdata/owndoor.c.
func TestOwnDoor(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-no-pie", "-o", filepath.Join(dir, "owndoor"), "testdata/owndoor.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	spec := func(id, runtime, mode string) node.Spec {
		return node.Spec{
			ID: id, Runtime: runtime, Args: []string{"/owndoor/owndoor", "1"}, PIDOf: victim, Capabilities: attackCapabilities(),
			Annotations: map[string]string{annotationMode: mode, annotationProfile: "baseline"},
			Options: []oci.SpecOpts{oci.WithMounts([]specs.Mount{
				{Destination: "/owndoor", Type: "bind", Source: dir, Options: []string{"rbind", "ro"}},
			})},
		}
	}
	for mode, test := range map[string]struct{ says, verdict string }{
		"runc":    {says: "attached"},
		"audit":   {says: "attached", verdict: "observed"},
		"enforce": {says: "EPERM", verdict: "refused"},
	} {
		t.Run(mode, func(t *testing.T) {
			s := spec("owndoor-"+mode, node.Shimward, mode)
			if mode == "runc" {
				s.Runtime, s.Annotations = node.Runc, nil
			}
			result := mustRun(t, n, s)
			want := strings.Join([]string{
				"debugger: looked at the tracee", "tracee: released", "debugger: looked at the grandchild",
				"grandchild: " + test.says, "debugger: " + test.says, "",
			}, "\n")
			if result.Stdout != want {
				t.Errorf("want %q: %s", want, result)
			}
			if mode == "runc" {
				return
			}
			events := accesses(t, n, s.ID)
			wantDeeds(t, events, victim.PID, []string{
				"debugger, ptrace at the tracee: same-container, observed",
				"debugger, ptrace at the grandchild: same-container, observed",
				"grandchild, ptrace at the victim: other-container, " + test.verdict,
				"debugger, ptrace at the victim: other-container, " + test.verdict,
			})
		})
	}
}

// wantDeeds checks that events describe exactly these accesses, each at least once.
func wantDeeds(t *testing.T, events []event.Event, victim int, want []string) {
	t.Helper()
	role := func(p event.Process, otherwise string) string {
		switch {
		case p.PID == victim:
			return "victim"
		case strings.Contains(p.Cmdline, "grandchild"):
			return "grandchild"
		default:
			return otherwise
		}
	}
	told := map[string]bool{}
	for _, e := range events {
		a := e.Access
		told[fmt.Sprintf("%s, %s at the %s: %s, %s", role(a.Actor, "debugger"), a.Vector, role(a.Target, "tracee"), a.Relation, a.Verdict)] = true
	}
	if got := slices.Sorted(maps.Keys(told)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("told of %q, want %q:\n%s", got, want, describe(events))
	}
}

package integration

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// TestHeldUp checks that a process cannot delay the events of its container by blocking whoever
// reads its command line, which it can do for as long as its own file system wants. See
// testdata/heldup.c.
func TestHeldUp(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-pthread", "-o", filepath.Join(dir, "heldup"), "testdata/heldup.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	c := mustStart(t, n, node.Spec{
		ID: "heldup", Runtime: node.Shimward, Args: []string{"/heldup/heldup", "1"}, PIDOf: victim, Capabilities: attackCapabilities(),
		Annotations: map[string]string{annotationMode: "audit", annotationProfile: "strict"},
		Options: []oci.SpecOpts{oci.WithPrivileged, oci.WithDevices("/dev/fuse", "/dev/fuse", "rwm"), oci.WithMounts([]specs.Mount{
			{Destination: "/heldup", Type: "bind", Source: dir, Options: []string{"rbind", "ro"}},
		})},
	})
	if err := c.WaitLine(testContext(t), "held up"); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitLine(testContext(t), "reached by another"); err != nil {
		t.Fatal(err)
	}
	for ctx := testContext(t); ; {
		events := accesses(t, n, "heldup")
		if slices.ContainsFunc(events, func(e event.Event) bool { return e.Access.Actor.Comm == "another" }) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("nobody told of what another process did:\n%s", describe(events))
		}
	}
}

package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// TestQuiet checks that runc's own work in a container's cgroup, third-party hooks and honest
// programs cause no event, and no loss of events, even under the strictest rules.
func TestQuiet(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	c, err := n.RunDetached(ctx, node.Spec{
		ID: "quiet", Runtime: node.Shimward, DefaultSeccomp: true,
		Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "strict"},
		Options:     []oci.SpecOpts{withHooks},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{
		{"/bin/ps"},
		{"/bin/sh", "-c", "cat /proc/1/status /proc/1/cmdline /proc/1/stat /proc/1/statm >/dev/null; ls -l /proc/self/fd"},
		{"/bin/sh", "-c", "for i in 1 2 3; do (echo $i | cat); done"},
		{"/bin/sh", "-c", "sleep 0.1 & wait"},
	} {
		result, err := c.Exec(ctx, fmt.Sprintf("honest-%d", i), args...)
		if err != nil || result.Code != 0 {
			t.Errorf("%q: %s, %v", args, result, err)
		}
	}
	if err := c.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	if events := accesses(t, n, "quiet"); len(events) > 0 {
		t.Errorf("events of honest work:\n%s", describe(events))
	}
	wantLife(t, n, "quiet", event.KindCreated, event.KindStarted, event.KindExec, event.KindDeleted)
	wantNoLeaks(t, n)
}

// wantLife checks that the store has records of these kinds for a container.
func wantLife(t *testing.T, n *node.Node, id string, kinds ...event.Kind) {
	t.Helper()
	events, err := n.Events(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	have := map[event.Kind]int{}
	for _, e := range events {
		have[e.Kind]++
	}
	for _, kind := range kinds {
		if have[kind] == 0 {
			t.Errorf("no record of kind %s among %v", kind, have)
		}
	}
}

// withHooks adds third-party hooks of every kind that runs before the workload.
func withHooks(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	hook := []specs.Hook{{Path: "/bin/cat", Args: []string{"cat", "/proc/self/status"}}}
	s.Hooks = &specs.Hooks{CreateRuntime: hook, CreateContainer: hook, StartContainer: hook, Poststart: hook}
	return nil
}

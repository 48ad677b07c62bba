package integration

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/integration/internal/node"
)

// TestHooked attacks from a startContainer hook. Its program is the image's, and runs in the container.
func TestHooked(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	left := func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		const try = "/bin/shimward emulate --json --spawn --timeout=3m proc-mem-read process-vm-readv >/part; mv /part /hooked"
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", try}}}}
		return nil
	}
	ctx := testContext(t)
	c := mustStart(t, n, node.Spec{
		ID: "hooked", Runtime: node.Shimward, Annotations: enforceStrict(), Options: []oci.SpecOpts{left},
		Args: []string{"/bin/sleep", "1000000"},
	})
	path := fmt.Sprintf("/proc/%d/root/hooked", c.PID)
	waitFor(ctx, t, "what the hook tried", func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
	said, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report(t, node.Result{Stdout: string(said)}).Results {
		if r.Through() {
			t.Errorf("by a startContainer hook: %s", tell(r))
		}
	}
}

// TestExecBeforeStart execs in a container that was created and not started yet.
func TestExecBeforeStart(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	c, err := n.Create(ctx, node.Spec{
		ID: "waits", Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/sleep", "1000000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Delete(ctx); err != nil {
			t.Error(err)
		}
	}()
	wantGuarded(t, n, c, "early", true)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	wantGuarded(t, n, c, "late", true)
}

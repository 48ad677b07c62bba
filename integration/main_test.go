// Package integration tests shimward as users run it: with a real containerd, real runc and real
// attacks, on the kernel that the tests run on. scripts/test builds this package once and runs it
// on the build machine and in VMs.
package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// patience is how long a test waits for anything. It is generous because emulated CPUs are slow. No
// test asserts a duration.
const patience = 15 * time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startNode starts a node and stops it at the end of the test. The test fails if anything is left
// of the node's containers then.
func startNode(t *testing.T, options node.Options) *node.Node {
	t.Helper()
	testenv.Root(t)
	if options.Engines == "" {
		options.Engines = engines(t)
	}
	// On emulated CPUs, the verifier takes longer than everything else in a test.
	options.BPF = os.Getenv("SHIMWARD_TEST_BPF")
	ctx := testContext(t)
	n, err := node.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd and the shims said:\n%s", n.Log())
		}
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("stopping the node: %v", err)
		}
	})
	return n
}

// startGuardedNode starts a node with shimward installed.
func startGuardedNode(t *testing.T, options node.Options) *node.Node {
	t.Helper()
	options.Bin = folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	return startNode(t, options)
}

func engines(t *testing.T) string {
	t.Helper()
	return folder(t, "SHIMWARD_ENGINES", "containerd and runc (scripts/build-tools engines)", "", "containerd")
}

// folder returns the absolute path of the directory named by the environment variable, or else of
// fallback, provided that it contains what.
func folder(t *testing.T, variable, label, fallback, what string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		dir = fallback
	}
	if dir == "" {
		testenv.Missing(t, label)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(filepath.Join(abs, what)); err != nil {
		testenv.Missing(t, label)
	}
	return abs
}

func mustRun(t *testing.T, n *node.Node, spec node.Spec) node.Result {
	t.Helper()
	result, err := n.Run(testContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// mustDetach starts a container. The test deletes it.
func mustDetach(t *testing.T, n *node.Node, spec node.Spec) *node.Container {
	t.Helper()
	c, err := n.RunDetached(testContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustStart starts a container and deletes it at the end of the test.
func mustStart(t *testing.T, n *node.Node, spec node.Spec) *node.Container {
	t.Helper()
	c := mustDetach(t, n, spec)
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

func wantNoLeaks(t *testing.T, n *node.Node) {
	t.Helper()
	leaks, err := n.Leaks()
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range leaks {
		t.Errorf("left behind: %s", leak)
	}
}

package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// shared is what sharedNode keeps. The package's tests do not run in parallel.
var shared struct {
	dir     string
	unmount func() error
	node    *Node
}

// sharedNode returns the node of all tests that leave it as they found it: where CPUs are emulated,
// loading a node takes seconds.
func sharedNode(t *testing.T) *Node {
	t.Helper()
	if shared.node != nil {
		return shared.node
	}
	dir, err := os.MkdirTemp("", "shimward-test-") //nolint:usetesting // it outlives the test
	if err != nil {
		t.Fatal(err)
	}
	paths := policy.Paths{Run: filepath.Join(dir, "run"), BPF: filepath.Join(dir, "bpf", "shimward")}
	if err := os.Mkdir(filepath.Dir(paths.BPF), 0o700); err != nil {
		t.Fatal(err)
	}
	unmount := testenv.MountBPF(t, filepath.Dir(paths.BPF))
	node, err := Ensure(NodeOptions{Paths: paths})
	if err != nil {
		t.Fatal(errors.Join(err, unmount(), os.RemoveAll(dir)))
	}
	shared.dir, shared.unmount, shared.node = dir, unmount, node
	return node
}

// runTests runs the tests, removes the node that they shared, and returns the exit status.
func runTests(m *testing.M) int {
	status := m.Run()
	if shared.node == nil {
		return status
	}
	if err := errors.Join(shared.node.Close(), shared.unmount(), os.RemoveAll(shared.dir)); err != nil {
		fmt.Fprintln(os.Stderr, "remove the node that tests shared:", err)
		return 1
	}
	return status
}

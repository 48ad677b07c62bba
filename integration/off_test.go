package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/integration/internal/node"
)

// TestOff checks that with mode=off, a container runs exactly as under runc: runc gets the spec
// that containerd made, byte for byte.
func TestOff(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	c := mustStart(t, n, node.Spec{
		ID: "off", Runtime: node.Shimward, DefaultSeccomp: true, Annotations: map[string]string{annotationMode: "off"},
	})
	wantUntouched(t, n, c)
	if result, err := c.Exec(testContext(t), "x", "/bin/id", "-u"); err != nil || result.Stdout != "0\n" {
		t.Errorf("exec: %s, %v", result, err)
	}
}

// wantUntouched checks that a container has the spec that containerd made, and nothing of shimward.
func wantUntouched(t *testing.T, n *node.Node, c *node.Container) {
	t.Helper()
	bundled, err := os.ReadFile(filepath.Join(c.Bundle(), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.RawSpec(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bundled, made) {
		t.Errorf("the bundle's config.json is\n%s\ncontainerd made\n%s", bundled, made)
	}
	for _, root := range []string{n.Paths.Run, n.Paths.BPF} {
		if entries, err := os.ReadDir(filepath.Join(root, "containers")); err == nil && len(entries) > 0 {
			t.Errorf("there is state of an unguarded container in %s: %v", root, entries)
		}
	}
}

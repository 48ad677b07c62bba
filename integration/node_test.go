package integration

import (
	"strings"
	"testing"

	"github.com/shimward/shimward/integration/internal/node"
)

// TestStockContainer tests the harness itself, on which the other tests are built, under stock
// runc.
func TestStockContainer(t *testing.T) {
	n := startNode(t, node.Options{})

	t.Run("exit code and output", func(t *testing.T) {
		result := mustRun(t, n, node.Spec{
			Runtime: node.Runc, Args: []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 7"},
		})
		if result.Code != 7 || result.Stdout != "out\n" || result.Stderr != "err\n" {
			t.Errorf("got %s", result)
		}
	})
	t.Run("shared pid namespace", func(t *testing.T) {
		victim := mustStart(t, n, node.Spec{Runtime: node.Runc, Args: []string{"/bin/sleep", "4242"}})
		result := mustRun(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim, Args: []string{"/bin/ps"}})
		if !strings.Contains(result.Stdout, "sleep 4242") {
			t.Errorf("the other container's process is not there: %s", result)
		}
	})
	t.Run("exec", func(t *testing.T) {
		c := mustStart(t, n, node.Spec{Runtime: node.Runc})
		result, err := c.Exec(testContext(t), "probe", "/bin/id", "-u")
		if err != nil || result.Stdout != "0\n" {
			t.Errorf("got %s, %v", result, err)
		}
	})
	t.Run("ctr", func(t *testing.T) {
		c := mustStart(t, n, node.Spec{Runtime: node.Runc})
		out, err := n.Tool(testContext(t), "ctr", "task", "exec", "--exec-id", "x", c.ID, "/bin/id", "-u").Output()
		if err != nil || strings.TrimSpace(string(out)) != "0" {
			t.Errorf("got %q, %v", out, err)
		}
	})
	wantNoLeaks(t, n)
}

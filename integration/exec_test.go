package integration

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/shimward/shimward/integration/internal/node"
)

// TestExec checks that what is started in a container from outside, as by `kubectl exec`, is
// guarded, and that its events name the exec.
func TestExec(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	for _, mode := range []string{"audit", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			c := mustStart(t, n, node.Spec{
				ID: "exec-" + mode, Runtime: node.Shimward, PIDOf: victim, Capabilities: attackCapabilities(),
				Annotations: map[string]string{annotationMode: mode},
			})
			execID := "probe-" + mode
			ctx := testContext(t)
			out, err := n.Tool(ctx, "ctr", "task", "exec", "--exec-id", execID, c.ID,
				"/bin/shimward", "emulate", "--json", "proc-mem-read", "process-vm-readv", "ptrace-attach").Output()
			var exited *exec.ExitError
			if err != nil && !errors.As(err, &exited) {
				t.Fatal(err)
			}
			result := node.Result{Stdout: string(out)}
			if exited != nil {
				result.Code, result.Stderr = exited.ExitCode(), string(exited.Stderr)
			}
			attacks := report(t, result)
			if err := c.Kill(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if err := c.DeleteTask(ctx); err != nil {
				t.Fatal(err)
			}
			events := accesses(t, n, c.ID)
			for _, r := range attacks.Results {
				if r.Through() != (mode == "audit") {
					t.Errorf("under %s: %s", mode, tell(r))
				}
				found := by(events, r)
				if len(found) != 1 {
					t.Fatalf("%d events of %s, want 1:\n%s", len(found), tell(r), describe(found))
				}
				origin := found[0].Access.Actor.Origin
				if origin == nil || origin.Kind != "exec" || origin.ExecID != execID {
					t.Errorf("origin %+v, want exec %s:\n%s", origin, execID, describe(found))
				}
			}
		})
	}
}

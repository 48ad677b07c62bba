package integration

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/guarded"
)

// reach accesses the memory of the container's init from an exec, through vectors that seccomp and
// the other sensors check, and reports whether the accesses got through.
func reach(t *testing.T, c *node.Container, id string) (through bool) {
	t.Helper()
	result, err := c.Exec(testContext(t), id, "/bin/shimward", "emulate", "--json", "--timeout=3m", "--victim=1", "process-vm-readv", "proc-mem-read", "ptrace-attach")
	if err != nil {
		t.Fatal(err)
	}
	attacks := report(t, result)
	for _, r := range attacks.Results {
		if r.Through() != attacks.Results[0].Through() {
			t.Errorf("%s: one got through, another did not: %s, %s", id, tell(attacks.Results[0]), tell(r))
		}
	}
	return attacks.Results[0].Through()
}

// allow runs `shimward allow`.
func allow(t *testing.T, n *node.Node, args ...string) string {
	t.Helper()
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	out, err := exec.CommandContext(testContext(t), filepath.Join(bin, "shimward"), append([]string{"allow", "--config", n.ConfigPath()}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("shimward allow %v: %v: %s", args, err, out)
	}
	return string(out)
}

// TestLease checks that a lease, a temporary exception, permits what a rule refuses, that events
// give its reason, and that it expires by itself.
func TestLease(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	c := startVictim(t, n, node.Spec{ID: "leased", Runtime: node.Shimward, Annotations: enforceStrict(), Capabilities: attackCapabilities()})
	lease := []string{"--container=leased", "--exe=/bin/shimward"}
	if reach(t, c, "before") {
		t.Fatal("strict lets a process of the same container through")
	}
	allow(t, n, append(lease, "--for=1h", "--why=INC-42")...)
	if !reach(t, c, "leased") {
		t.Error("it is allowed, and refused")
	}
	if list := allow(t, n, "--list"); !strings.Contains(list, "INC-42") || !strings.Contains(list, "/bin/shimward") {
		t.Errorf("the list does not say so:\n%s", list)
	}
	if list := leases(t, n); len(list) != 1 || list[0].Ends <= time.Hour {
		t.Errorf("the list does not know when the kernel ends it: %+v", list)
	}
	allow(t, n, append(lease, "--revoke")...)
	if reach(t, c, "revoked") {
		t.Error("it is revoked, and still allowed")
	}
	allow(t, n, append(lease, "--for=1s", "--why=short")...)
	waitNoLease(t, n)
	if reach(t, c, "ended") {
		t.Error("its time is over, and it is still allowed")
	}

	end(t, c)
	all, err := n.Events(testContext(t), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	var let []event.Event
	for _, e := range all {
		switch {
		case e.Kind == event.KindLease:
			told = append(told, e.Message)
		case e.Access != nil && e.Access.Verdict == access.VerdictObserved:
			let = append(let, e)
			if e.Access.Rule != "lease: INC-42" || e.Severity != event.SeverityInfo {
				t.Errorf("let through by the rule %s:\n%s", e.Access.Rule, describe([]event.Event{e}))
			}
		}
	}
	if let = joined(let); len(let) != 3 {
		t.Errorf("%d events of what was let through, want 3:\n%s", len(let), describe(let))
	}
	if len(told) != 3 || !strings.Contains(told[0], "INC-42") || !strings.Contains(told[1], "no longer allows") {
		t.Errorf("the leases are told as %q", told)
	}
}

// end ends a container, after which its events are complete.
func end(t *testing.T, c *node.Container) {
	t.Helper()
	ctx := testContext(t)
	if err := c.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteTask(ctx); err != nil {
		t.Fatal(err)
	}
}

// waitNoLease waits until every lease has expired.
func waitNoLease(t *testing.T, n *node.Node) {
	t.Helper()
	ask := time.NewTicker(100 * time.Millisecond)
	defer ask.Stop()
	for ctx := testContext(t); ; {
		var leases []guarded.Lease
		if err := json.Unmarshal([]byte(allow(t, n, "--list", "--json")), &leases); err != nil {
			t.Fatal(err)
		}
		if len(leases) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-ask.C:
		}
	}
}

// TestVoidException checks that an exception applies only to the file that existed when the
// container was created. Events say that the exception is void for any file that replaces it.
func TestVoidException(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	for name, change := range map[string]string{
		"replaced":     "cp /bin/shimward /tmp/new && mv /tmp/new /bin/shimward",
		"changed":      "chmod 0700 /bin/shimward",
		"mounted-over": "cp /bin/shimward /tmp/new && mount -o bind /tmp/new /bin/shimward",
	} {
		t.Run(name, func(t *testing.T) {
			annotations := enforceStrict()
			annotations["shimward.dev/allow"] = "/bin/shimward"
			c := startVictim(t, n, node.Spec{ID: "excepted-" + name, Runtime: node.Shimward, Annotations: annotations, Capabilities: attackCapabilities()})
			if !reach(t, c, "before") {
				t.Fatal("the annotation does not allow it")
			}
			result, err := c.Exec(testContext(t), "change", "/bin/sh", "-c", change)
			if err != nil || result.Code != 0 {
				t.Fatal(err, result)
			}
			if reach(t, c, "after") {
				t.Error("another file has the exception")
			}
			end(t, c)
			void := 0
			for _, e := range accesses(t, n, c.ID) {
				if e.Access.Exception != "" {
					void++
					if e.Access.Verdict == access.VerdictObserved || !strings.Contains(e.Access.Exception, "/bin/shimward") {
						t.Errorf("void, and so:\n%s", describe([]event.Event{e}))
					}
				}
			}
			if void != 3 {
				t.Errorf("%d events say that the exception is void, want 3", void)
			}
		})
	}
}

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/policy"
)

// TestStateLost removes what shimward keeps on the node while a guarded container runs. The guard
// must hold or the loss be recorded, other containers can still be created, and all can be deleted.
func TestStateLost(t *testing.T) {
	for name, test := range map[string]struct {
		lose func(t *testing.T, n *node.Node)
		// notice is a word of the expected notice, if any.
		notice string
		// closed means that exec in the container must fail: this is better than running unguarded.
		closed bool
	}{
		"the folder of state": {notice: "state", closed: true, lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			removeAll(t, filepath.Join(n.Paths.Run, "containers"))
		}},
		"the plan": {lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			for _, plan := range plans(t, n) {
				removeAll(t, plan)
			}
		}},
		"the plan's text": {lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			for _, plan := range plans(t, n) {
				if err := os.WriteFile(plan, []byte("{]"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}},
		"the config": {lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			if err := n.SetRawConfig([]byte("this is [not TOML")); err != nil {
				t.Fatal(err)
			}
		}},
		"the pins": {notice: "pins", lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			removeAll(t, n.Paths.BPF)
		}},
		"the container's pins": {notice: "pins", lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			removeAll(t, filepath.Join(n.Paths.BPF, "containers"))
		}},
		"all of it, as a reboot does": {notice: "pins", closed: true, lose: func(t *testing.T, n *node.Node) {
			t.Helper()
			removeAll(t, n.Paths.BPF)
			removeAll(t, n.Paths.Run)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv("SHIMWARD_TEST_BPF") == "" { // each node has its own pins
				t.Parallel()
			}
			n := startGuardedNode(t, node.Options{})
			ctx := testContext(t)
			c := mustDetach(t, n, node.Spec{ID: "loser", Runtime: node.Shimward, Annotations: enforceStrict()})
			wantGuarded(t, n, c, "before", true)
			waitHeld(ctx, t, n, c)
			test.lose(t, n)
			if test.notice != "" {
				wantNotice(ctx, t, n, c.ID, test.notice)
			}
			again := func(execID string) {
				t.Helper()
				if !test.closed {
					wantGuarded(t, n, c, execID, true)
				} else if _, err := c.Exec(ctx, execID, "/bin/true"); err == nil {
					t.Error("an exec runs without the listener that answers its calls")
				}
			}
			again("after")
			if err := n.SetConfig(""); err != nil {
				t.Fatal(err)
			}
			// The next shim reconciles, at its end at the latest, which must not remove the first container's guard.
			other := mustDetach(t, n, node.Spec{ID: "other", Runtime: node.Shimward, Annotations: enforceStrict()})
			wantGuarded(t, n, other, "other", true)
			_ = os.Remove(n.Paths.Reconciled()) // there may be none
			mustRun(t, n, node.Spec{Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/true"}})
			waitReconciled(ctx, t, n)
			again("reconciled")
			for _, one := range []*node.Container{c, other} {
				if err := one.Delete(ctx); err != nil {
					t.Error(err)
				}
			}
			wantSettled(t, n)
		})
	}
}

// TestConfigLostAtEnd checks that a container can be deleted although the config became invalid
// while it ran, also if its shim is dead.
func TestConfigLostAtEnd(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	for _, killed := range []bool{false, true} {
		c := mustDetach(t, n, node.Spec{Runtime: node.Shimward, Annotations: enforceStrict()})
		if err := n.SetRawConfig([]byte("this is [not TOML")); err != nil {
			t.Fatal(err)
		}
		if killed {
			if err := n.KillShim(c.ID); err != nil {
				t.Fatal(err)
			}
			if err := c.Gone(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if killed {
			deleteBereft(ctx, t, c)
		} else if err := c.Delete(ctx); err != nil {
			t.Error(err)
		}
		wantSettled(t, n)
		if err := n.SetConfig(""); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogLost tests an event store whose disk is full or read-only. Running containers must stay
// guarded and can be deleted. A new container is refused with a clear error, or is created and
// guarded.
func TestLogLost(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	if err := os.MkdirAll(n.Paths.Log, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("log", n.Paths.Log, "tmpfs", 0, "size=256k,mode=700"); err != nil {
		t.Fatal(err)
	}
	unmount := func() {
		if err := unix.Unmount(n.Paths.Log, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
	c := mustDetach(t, n, node.Spec{ID: "logged", Runtime: node.Shimward, Annotations: enforceStrict()})
	filler := filepath.Join(n.Paths.Log, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk took more than it has")
	}
	stopped := func(c *node.Container, execID string) {
		t.Helper()
		result, err := c.Exec(ctx, execID, "/bin/shimward", "emulate", "--json", "--spawn", "--timeout=3m", "proc-mem-read")
		if err != nil {
			t.Fatal(err)
		}
		if r := report(t, result).Results[0]; r.Through() {
			t.Error(tell(r))
		}
	}
	// The first events may still fit into the rest of the file's last page.
	for i := range 4 {
		stopped(c, fmt.Sprintf("full-%d", i))
	}
	other, err := n.RunDetached(ctx, node.Spec{ID: "on-full", Runtime: node.Shimward, Annotations: enforceStrict()})
	if err != nil {
		t.Logf("on a full disk: %v", err)
		if !strings.Contains(err.Error(), n.Paths.Log) {
			t.Errorf("the error does not say which disk: %v", err)
		}
	} else {
		stopped(other, "full")
		if err := other.Delete(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	wantGuarded(t, n, c, "room", true)
	wantNotice(ctx, t, n, c.ID, "could not be stored")
	if err := unix.Mount("", n.Paths.Log, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Logf("the shim writes: %v", err)
	}
	if err := c.Delete(ctx); err != nil {
		t.Error(err)
	}
	if err := unix.Mount("", n.Paths.Log, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = n.Run(ctx, node.Spec{Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/true"}})
	t.Logf("on a read-only disk: %v", err)
	if err == nil || !strings.Contains(err.Error(), n.Paths.Log) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("the error does not say that the event store cannot be written: %v", err)
	}
	unmount()
	wantSettled(t, n)
	if result := mustRun(t, n, node.Spec{Runtime: node.Shimward, Args: []string{"/bin/true"}}); result.Code != 0 {
		t.Errorf("afterwards: %s", result)
	}
}

// TestRunReadOnly makes the state directory read-only. A new container must be refused with a clear
// error, a running one can be deleted, and what it leaves is removed later.
func TestRunReadOnly(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	if err := os.MkdirAll(n.Paths.Run, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("run", n.Paths.Run, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		t.Fatal(err)
	}
	c := mustDetach(t, n, node.Spec{ID: "there", Runtime: node.Shimward, Annotations: enforceStrict()})
	// A bind remount can be made read-only while files that are already open stay writable.
	remount := func(flags uintptr) {
		if err := unix.Mount("", n.Paths.Run, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	_, err := n.Run(ctx, node.Spec{Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/true"}})
	t.Logf("on a read-only disk: %v", err)
	if err == nil || !strings.Contains(err.Error(), n.Paths.Run) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("the error does not say that the state cannot be written: %v", err)
	}
	wantGuarded(t, n, c, "read-only", true)
	if err := c.Delete(ctx); err != nil {
		t.Error(err)
	}
	remount(0)
	if result := mustRun(t, n, node.Spec{Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/sleep", "2"}}); result.Code != 0 {
		t.Errorf("afterwards: %s", result)
	}
	leaks := wantOnly(t, n, n.Paths.Run)
	t.Log(leaks)
	if err := unix.Unmount(n.Paths.Run, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

// wantOnly checks that there is no leak other than the test's own mount.
func wantOnly(t *testing.T, n *node.Node, mount string) []string {
	t.Helper()
	leaks, err := n.Leaks()
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range leaks {
		if leak != "mount "+mount {
			t.Errorf("left behind: %s", leak)
		}
	}
	return leaks
}

// TestTwoContainerds checks that two containerds on one node that share shimward's paths do not
// take each other's containers for dead.
func TestTwoContainerds(t *testing.T) {
	first := startGuardedNode(t, node.Options{})
	second := startGuardedNode(t, node.Options{})
	second.Paths = first.Paths
	if err := second.SetConfig(""); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	var all []*node.Container
	for _, n := range []*node.Node{first, second, first, second} {
		c := mustDetach(t, n, node.Spec{ID: "same-name-" + n.Namespace + string(rune('a'+len(all))), Runtime: node.Shimward, Annotations: enforceStrict()})
		all = append(all, c)
	}
	for i, c := range all {
		wantGuarded(t, first, c, "x"+string(rune('a'+i)), true)
	}
	for _, c := range all {
		if err := c.Delete(ctx); err != nil {
			t.Error(err)
		}
	}
	wantSettled(t, first)
}

// waitReconciled waits until a reconciliation of the node is recorded.
func waitReconciled(ctx context.Context, t *testing.T, n *node.Node) {
	t.Helper()
	for {
		_, err := os.Stat(n.Paths.Reconciled())
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("nobody has reconciled the node: %v", err)
		}
	}
}

// waitHeld waits until the container's shim holds every pinned link that guards the container, which
// it does once the container has run for a second.
func waitHeld(ctx context.Context, t *testing.T, n *node.Node, c *node.Container) {
	t.Helper()
	pinned := 0
	for _, links := range []string{
		filepath.Join(n.Paths.BPF, "*", "link_*"), // the node's
		filepath.Join(n.Paths.Pins(policy.Key(c.ID, c.Bundle())), "link_*"),
	} {
		pins, err := filepath.Glob(links)
		if err != nil || len(pins) == 0 {
			t.Fatalf("no pins %s: %v", links, err)
		}
		pinned += len(pins)
	}
	for {
		shims, err := n.Shims()
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", shims[c.ID]))
		if err != nil {
			t.Fatal(err)
		}
		links := 0
		for _, file := range files {
			if to, err := os.Readlink(file); err == nil && strings.HasPrefix(to, "anon_inode:bpf") && strings.Contains(to, "link") {
				links++
			}
		}
		if links >= pinned {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the shim of %s holds %d links of %d", c.ID, links, pinned)
		}
	}
}

func wantNotice(ctx context.Context, t *testing.T, n *node.Node, id, word string) {
	t.Helper()
	e, err := n.WaitEvent(ctx, id, func(e event.Event) bool { return e.Kind == event.KindNotice && strings.Contains(e.Message, word) })
	if err != nil {
		t.Fatal(err)
	}
	t.Log(e.Message)
}

func plans(t *testing.T, n *node.Node) []string {
	t.Helper()
	found, err := filepath.Glob(n.Paths.Plan("*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	return found
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

func auditStrict() map[string]string {
	return map[string]string{annotationMode: "audit", annotationProfile: "strict"}
}

func enforceStrict() map[string]string {
	return map[string]string{annotationMode: "enforce", annotationProfile: "strict"}
}

// wantGuarded attacks from within a container and checks that the attack is stopped, or only seen.
func wantGuarded(t *testing.T, n *node.Node, c *node.Container, execID string, stopped bool) {
	t.Helper()
	ctx := testContext(t)
	result, err := c.Exec(ctx, execID, "/bin/shimward", "emulate", "--json", "--spawn", "--timeout=3m", "proc-mem-read")
	if err != nil {
		t.Fatal(err)
	}
	r := report(t, result).Results[0]
	if r.Through() == stopped {
		t.Errorf("the attack, where stopped should be %v: %s", stopped, tell(r))
	}
	e, err := n.WaitEvent(ctx, c.ID, func(e event.Event) bool {
		return e.Kind == event.KindAccess && e.Access.Actor.PIDInside == r.Attacker
	})
	if err != nil {
		t.Fatal(err)
	}
	if origin := e.Access.Actor.Origin; origin == nil || origin.Kind != "exec" || origin.ExecID != execID {
		t.Errorf("the event does not name the exec %s:\n%s", execID, describe([]event.Event{e}))
	}
	if e.Access.Actor.Container != c.ID {
		t.Errorf("the event does not say that its actor is of %s:\n%s", c.ID, describe([]event.Event{e}))
	}
}

// waitForgotten waits until containerd has cleaned up after a killed shim, which it does
// asynchronously.
func waitForgotten(ctx context.Context, t *testing.T, n *node.Node, id string) {
	t.Helper()
	for {
		shims, err := n.Shims()
		if err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(filepath.Join(n.Dir, "state", "io.containerd.runtime.v2.task", n.Namespace, id))
		if _, alive := shims[id]; !alive && os.IsNotExist(err) {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("containerd keeps what is left of %s: %v", id, ctx.Err())
		}
	}
}

// deleteBereft deletes a container whose shim was killed. It retries, because for a moment
// containerd may still talk to the dead shim, and it accepts that the container is gone by the next
// try.
func deleteBereft(ctx context.Context, t *testing.T, c *node.Container) {
	t.Helper()
	err := c.Delete(ctx)
	for err != nil && ctx.Err() == nil && !errdefs.IsNotFound(err) {
		err = c.Delete(ctx)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func wantSettled(t *testing.T, n *node.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Settled(ctx); err != nil {
		t.Error(err)
	}
}

// TestContainerdKilled kills and restarts containerd while guarded containers run. They must stay
// guarded, and exec, kill and delete must work.
func TestContainerdKilled(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	c := mustDetach(t, n, node.Spec{ID: "survivor", Runtime: node.Shimward, Annotations: enforceStrict()})
	ends := mustDetach(t, n, node.Spec{ID: "ends-meanwhile", Runtime: node.Shimward, Annotations: enforceStrict()})
	wantGuarded(t, n, c, "before", true)
	if err := n.KillContainerd(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(ends.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := ends.Gone(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Adopt(ctx, c); err != nil {
		t.Fatal(err)
	}
	// containerd drops a shim that has no processes (shouldCleanupShim).
	if err := n.Adopt(ctx, ends); !errdefs.IsNotFound(err) {
		t.Errorf("the task that ended meanwhile: %v", err)
	}
	wantGuarded(t, n, c, "after", true)
	if err := c.Delete(ctx); err != nil {
		t.Error(err)
	}
	for _, one := range []*node.Container{c, ends} {
		wantLife(t, n, one.ID, event.KindCreated, event.KindStarted, event.KindExited, event.KindDeleted)
	}
	wantSettled(t, n)
}

// TestShimKilledRunning kills a shim while its container runs. The container must end with it, the
// loss must be recorded, and nothing may be left.
func TestShimKilledRunning(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	for i := range 3 {
		spec := node.Spec{ID: fmt.Sprintf("bereft-%d", i), Runtime: node.Shimward, Annotations: enforceStrict()}
		c := mustDetach(t, n, spec)
		if err := n.KillShim(c.ID); err != nil {
			t.Fatal(err)
		}
		if err := c.Gone(ctx); err != nil {
			t.Fatal(err)
		}
		deleteBereft(ctx, t, c)
		wantSettled(t, n)
		e, err := n.WaitEvent(ctx, c.ID, func(e event.Event) bool { return e.Kind == event.KindDeleted })
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(e.Message, "shim") {
			t.Errorf("the record does not say that the shim died: %s", describe([]event.Event{e}))
		}
	}
}

// TestShimKilledHalfway kills a shim at various moments while it creates or deletes a container.
// Nothing may be left, and the next container of that name must work.
func TestShimKilledHalfway(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	// The first container on a node loads the programs.
	mustRun(t, n, node.Spec{Runtime: node.Shimward, Args: []string{"/bin/true"}})
	for i := range 12 {
		delay := time.Duration(i) * 15 * time.Millisecond
		t.Run(delay.String(), func(t *testing.T) {
			id := fmt.Sprintf("halfway-%d", i)
			made := make(chan error)
			var c *node.Container
			go func() {
				var err error
				c, err = n.RunDetached(ctx, node.Spec{ID: id, Runtime: node.Shimward, Annotations: enforceStrict()})
				if err == nil {
					err = c.Delete(ctx)
				}
				made <- err
			}()
			for {
				shims, err := n.Shims()
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := shims[id]; ok {
					break
				}
			}
			<-time.After(delay)
			if err := n.KillShim(id); err != nil {
				t.Log(err) // the shim ended first
			}
			t.Log(<-made)
			if c != nil {
				if err := c.Delete(ctx); err != nil {
					t.Log(err)
				}
			}
			waitForgotten(ctx, t, n, id)
			// What could not be rolled back is removed when the next container is created.
			result := mustRun(t, n, node.Spec{ID: id, Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/true"}})
			if result.Code != 0 {
				t.Errorf("the next of that name: %s", result)
			}
			wantSettled(t, n)
		})
	}
}

// TestKilledInHook kills runc or the shim while runc waits for the hook. The hook continues alone,
// and what it leaves behind must be removed by the time of the next container at the latest.
func TestKilledInHook(t *testing.T) {
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	slow := t.TempDir()
	const shim = "containerd-shim-shimward-v1"
	content, err := os.ReadFile(filepath.Join(bin, shim))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(slow, shim), content, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$2\" = poststop ] || sleep 0.5\nexec %s/shimward \"$@\"\n", bin)
	if err := os.WriteFile(filepath.Join(slow, "shimward-hook"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, node.Options{Bin: slow})
	ctx := testContext(t)
	for _, who := range []string{"runc", "shim"} {
		t.Run(who, func(t *testing.T) {
			id := "hooked-" + who
			spec := node.Spec{ID: id, Runtime: node.Shimward, Annotations: enforceStrict(), Args: []string{"/bin/true"}}
			stop := make(chan struct{})
			done := make(chan bool)
			go func() {
				done <- killInHook(n.Namespace, stop, func(runc int) error {
					if who == "shim" {
						return n.KillShim(id)
					}
					return unix.Kill(runc, unix.SIGKILL)
				})
			}()
			_, err := n.Run(ctx, spec)
			close(stop)
			if killed := <-done; !killed || err == nil {
				t.Errorf("killed in the hook: %v, error: %v", killed, err)
			}
			t.Log(err)
			// The remaining hook ends within a second.
			<-time.After(time.Second)
			spec.ID += "-next"
			if result := mustRun(t, n, spec); result.Code != 0 {
				t.Errorf("the next of that name: %s", result)
			}
			wantSettled(t, n)
		})
	}
}

// killInHook waits for a create-runtime hook in the namespace and calls kill with the pid of its
// runc.
func killInHook(namespace string, stop <-chan struct{}, kill func(runc int) error) bool {
	for {
		select {
		case <-stop:
			return false
		case <-time.After(time.Millisecond):
		}
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return false
		}
		for _, path := range lines {
			raw, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(raw), "hook\x00create-runtime") {
				continue
			}
			stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
			if err != nil {
				continue
			}
			_, after, _ := strings.Cut(string(stat), ") ")
			var state string
			var parent int
			if _, err := fmt.Sscan(after, &state, &parent); err != nil {
				continue
			}
			its, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parent))
			if err == nil && strings.Contains(string(its), namespace) {
				return kill(parent) == nil
			}
		}
	}
}

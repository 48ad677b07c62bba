package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/internal/testenv"
)

// runtimeLink returns a link to shimward like the one that `make install` creates, for engines that
// take only a path for a runtime.
func runtimeLink(t *testing.T) string {
	t.Helper()
	testenv.Root(t)
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	link := filepath.Join(t.TempDir(), "shimward-runc")
	if err := os.Symlink(filepath.Join(bin, "shimward"), link); err != nil {
		t.Fatal(err)
	}
	return link
}

// startRuntimeNode starts a node on which the stock shim calls shimward instead of runc.
func startRuntimeNode(t *testing.T) (n *node.Node, below node.Spec) {
	t.Helper()
	link := runtimeLink(t)
	n = startGuardedNode(t, node.Options{Config: "[runc]\npath = '" + filepath.Join(engines(t), "runc") + "'\n"})
	return n, node.Spec{Runtime: node.Runc, Binary: link}
}

// named returns a spec with an ID and annotations.
func named(spec node.Spec, id string, annotations map[string]string) node.Spec {
	spec.ID, spec.Annotations = id, annotations
	return spec
}

// TestRuntimeVectors tries every vector from a container of the stock shim with shimward as its
// runtime. The results must be the same as under shimward's own shim.
func TestRuntimeVectors(t *testing.T) {
	n, below := startRuntimeNode(t)
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	stock := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim}, "all")
	for _, r := range stock.Results {
		if !r.Through() && r.Outcome != emulate.OutcomeUnsupported {
			t.Errorf("%s did not get through under stock runc: %s", r.Name, tell(r))
		}
	}
	tryVectors(t, n, victim, stock, "strict", below, false)
	monitors, err := n.Monitors()
	if err != nil || len(monitors) != 0 {
		t.Errorf("monitors of containers that are gone: %v, %v", monitors, err)
	}
}

// TestRuntimeLife checks that a container under the stock shim has the same lifecycle records as
// under shimward's shim.
func TestRuntimeLife(t *testing.T) {
	n, below := startRuntimeNode(t)
	ctx := testContext(t)
	c := mustDetach(t, n, named(below, "lives", enforceStrict()))
	wantGuarded(t, n, c, "try", true)
	if err := c.Delete(ctx); err != nil {
		t.Error(err)
	}
	short := mustRun(t, n, func() node.Spec {
		spec := named(below, "short", enforceStrict())
		spec.Args = []string{"/bin/sh", "-c", "exit 7"}
		return spec
	}())
	if short.Code != 7 {
		t.Errorf("the short one: %s", short)
	}
	for _, id := range []string{"lives", "short"} {
		wantLife(t, n, id, event.KindCreated, event.KindStarted, event.KindExited, event.KindDeleted)
		events, err := n.Events(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if first, last := events[0].Kind, events[len(events)-1].Kind; first != event.KindCreated || last != event.KindDeleted {
			t.Errorf("%s: the records begin with %s and end with %s:\n%s", id, first, last, describe(events))
		}
	}
	wantSettled(t, n)
}

// TestRuntimeOff checks that with mode=off, runc gets containerd's spec byte for byte and no
// monitor runs.
func TestRuntimeOff(t *testing.T) {
	n, below := startRuntimeNode(t)
	spec := named(below, "off", map[string]string{annotationMode: "off"})
	spec.DefaultSeccomp = true
	c := mustStart(t, n, spec)
	wantUntouched(t, n, c)
	monitors, err := n.Monitors()
	if err != nil || len(monitors) != 0 {
		t.Errorf("monitors: %v, %v", monitors, err)
	}
	if result, err := c.Exec(testContext(t), "x", "/bin/id", "-u"); err != nil || result.Stdout != "0\n" {
		t.Errorf("exec: %s, %v", result, err)
	}
}

// TestRuntimeRefused checks that what shimward cannot understand or guarantee is an error that the
// engine's user sees, and that nothing is left.
func TestRuntimeRefused(t *testing.T) {
	n, below := startRuntimeNode(t)
	runc := "[runc]\npath = '" + filepath.Join(engines(t), "runc") + "'\n"
	for name, test := range map[string]struct {
		config string // shimward's config; a valid one if empty
		spec   node.Spec
		want   []string // all have to be in the error
	}{
		"unknown annotation": {
			spec: node.Spec{Annotations: map[string]string{"shimward.dev/mod": "audit"}},
			want: []string{"shimward.dev/mod", "mode, profile"},
		},
		"malformed mode": {
			spec: node.Spec{Annotations: map[string]string{annotationMode: "Enforce!"}},
			want: []string{annotationMode, "audit", "enforce", "off"},
		},
		"a listener of its own": {spec: node.Spec{Options: []oci.SpecOpts{withListener}}, want: []string{"listener"}},
		"garbage config":        {config: "this is [not TOML", want: []string{"config"}},
		"below the floor of a namespace": {
			config: "version = 1\n[[floor]]\nnamespaces = ['" + n.Namespace + "']\nmode = 'enforce'\n",
			spec:   node.Spec{Annotations: map[string]string{annotationMode: "off"}},
			want:   []string{"enforce", n.Namespace},
		},
		"a runtime that is not there": {
			config: "version = 1\n[runc]\npath = '/nowhere/runc'\n", want: []string{"runc.path", "/nowhere/runc"},
		},
		"a relative runtime": {config: "version = 1\n[runc]\npath = 'runc'\n", want: []string{"runc.path", "absolute"}},
		"itself for a runtime": {
			config: "version = 1\n[runc]\npath = '" + below.Binary + "'\n", want: []string{"runc.path", "shimward itself"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			write := func() error { return n.SetConfig(runc) }
			if test.config != "" {
				write = func() error { return n.SetRawConfig(withPaths(n, test.config)) }
			}
			if err := write(); err != nil {
				t.Fatal(err)
			}
			test.spec.Runtime, test.spec.Binary = below.Runtime, below.Binary
			wantNotCreated(t, n, test.spec, test.want...)
			wantSettled(t, n)
		})
	}
	t.Run("a hook that fails after shimward's", func(t *testing.T) {
		if err := n.SetConfig(runc); err != nil {
			t.Fatal(err)
		}
		spec := below
		spec.Options = []oci.SpecOpts{withFailingHook}
		wantNotCreated(t, n, spec, "createContainer")
		wantSettled(t, n)
	})
	if err := n.SetConfig(runc); err != nil {
		t.Fatal(err)
	}
	sound := below
	sound.Args = []string{"/bin/true"}
	if result := mustRun(t, n, sound); result.Code != 0 {
		t.Errorf("a sound container: %s", result)
	}
}

// TestMonitorKilled kills a monitor. The guard must stay in the kernel, the calls that its listener
// answered must fail, the loss must be recorded, and nothing may be left once the container is
// deleted.
func TestMonitorKilled(t *testing.T) {
	n, below := startRuntimeNode(t)
	ctx := testContext(t)
	spec := named(below, "bereft", enforceStrict())
	spec.Args = []string{"/bin/sh", "-c", "echo waits; while [ ! -e /go ]; do sleep 0.1; done; " +
		"/bin/shimward emulate --json --spawn --timeout=3m proc-mem-read process-vm-readv ptrace-attach; echo tried; sleep 1000000"}
	c := mustDetach(t, n, spec)
	if err := c.WaitLine(ctx, "waits"); err != nil {
		t.Fatal(err)
	}
	monitors, err := n.Monitors()
	if err != nil || len(monitors) != 1 {
		t.Fatalf("monitors: %v, %v", monitors, err)
	}
	if err := unix.Kill(monitors[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(ctx, t, "the end of the monitor", func() bool { return unix.Kill(monitors[0], 0) != nil })
	// An exec needs the listener's socket, and as with a dead shim, there is none.
	if _, err := c.Exec(ctx, "late", "/bin/true"); err == nil || !strings.Contains(err.Error(), "recreate the container") {
		t.Errorf("something was started in the container that nobody listens to, or the user does not read why not: %v", err)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/go", c.PID), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitLine(ctx, "tried"); err != nil {
		t.Fatal(err)
	}
	_, said, _ := strings.Cut(c.Stdout(), "waits\n")
	said, _, _ = strings.Cut(said, "tried")
	for _, r := range report(t, node.Result{Stdout: said}).Results {
		if r.Through() {
			t.Errorf("without the monitor: %s", tell(r))
		}
	}
	if err := c.Delete(ctx); err != nil {
		t.Error(err)
	}
	wantSettled(t, n)
	e, err := n.WaitEvent(ctx, c.ID, func(e event.Event) bool { return e.Kind == event.KindDeleted })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.Message, "monitor") {
		t.Errorf("the record does not say that the monitor died: %s", describe([]event.Event{e}))
	}
	next := named(below, c.ID, enforceStrict())
	next.Args = []string{"/bin/true"}
	if result := mustRun(t, n, next); result.Code != 0 {
		t.Errorf("the next of that name: %s", result)
	}
}

// TestRuntimeSocketReplaced replaces the socket to which listeners are sent. Nothing may be started
// in the container any more.
func TestRuntimeSocketReplaced(t *testing.T) {
	n, below := startRuntimeNode(t)
	c := mustStart(t, n, named(below, "robbed", enforceStrict()))
	key := onlyKey(t, n)
	path := n.Paths.Notify(key)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, err := c.Exec(testContext(t), "x", "/bin/true"); err == nil || !strings.Contains(err.Error(), "not the socket that shimward made") {
		t.Errorf("exec: %v", err)
	}
}

// TestRuntimePlanLost removes the state of a guarded container. Nothing may be started in it as if
// it had never been guarded.
func TestRuntimePlanLost(t *testing.T) {
	n, below := startRuntimeNode(t)
	c := mustStart(t, n, named(below, "forgotten", enforceStrict()))
	key := onlyKey(t, n)
	if err := os.Remove(n.Paths.Plan(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(testContext(t), "x", "/bin/true"); err == nil || !strings.Contains(err.Error(), "container forgotten is guarded, but shimward's state of it") {
		t.Errorf("exec: %v", err)
	}
}

// TestRuntimeNotStopped checks that the monitor does not believe a message that its container was
// deleted while the container's processes are alive.
func TestRuntimeNotStopped(t *testing.T) {
	n, below := startRuntimeNode(t)
	c := mustStart(t, n, named(below, "living", enforceStrict()))
	key := onlyKey(t, n)
	err := hooks.Tell(testContext(t), n.Paths, key, hooks.Message{What: hooks.MessageStopped})
	if err == nil || !strings.Contains(err.Error(), "its guard stays") {
		t.Errorf("told that a living container was deleted: %v", err)
	}
	if result, err := c.Exec(testContext(t), "x", "/bin/true"); err != nil || result.Code != 0 {
		t.Errorf("exec afterwards: %s, %v", result, err)
	}
}

// TestRuntimeKilledHalfway kills a monitor or the runtime at various moments while a container is
// being created. Nothing may be left, and the next container of that name must work.
func TestRuntimeKilledHalfway(t *testing.T) {
	n, below := startRuntimeNode(t)
	ctx := testContext(t)
	first := named(below, "first", enforceStrict())
	first.Args = []string{"/bin/true"}
	mustRun(t, n, first) // the first container on a node loads the programs
	for i := range 12 {
		delay := time.Duration(i) * 8 * time.Millisecond
		t.Run(delay.String(), func(t *testing.T) {
			spec := named(below, fmt.Sprintf("halfway-%d", i), enforceStrict())
			made := make(chan error)
			go func() {
				c, err := n.RunDetached(ctx, spec)
				if err == nil {
					err = c.Delete(ctx)
				}
				made <- err
			}()
			waitFor(ctx, t, "a monitor", func() bool {
				monitors, err := n.Monitors()
				if err != nil || len(monitors) == 0 {
					return false
				}
				victim := monitors[0]
				if i%2 == 1 { // the runtime, while it is the monitor's parent
					if victim = parentOf(victim); victim <= 1 {
						return true
					}
				}
				<-time.After(delay)
				_ = unix.Kill(victim, unix.SIGKILL)
				return true
			})
			t.Log(<-made)
			spec.Args = []string{"/bin/true"}
			if result := mustRun(t, n, spec); result.Code != 0 {
				t.Errorf("the next of that name: %s", result)
			}
			wantSettled(t, n)
		})
	}
}

// onlyKey returns the key of the node's only guarded container.
func onlyKey(t *testing.T, n *node.Node) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.Paths.Run, "containers"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	return entries[0].Name()
}

// parentOf returns the pid of a process's parent, or 0.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	var state string
	var parent int
	if _, err := fmt.Sscan(after, &state, &parent); err != nil {
		return 0
	}
	return parent
}

// waitFor waits until a condition is true.
func waitFor(ctx context.Context, t *testing.T, what string, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", what, ctx.Err())
		}
	}
}

// withFailingHook makes the container's creation fail after it was put under guard.
func withFailingHook(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/false", Args: []string{"false"}}}}
	return nil
}

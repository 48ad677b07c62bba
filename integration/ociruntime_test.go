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

// runtimeLink is a link to shimward as `make install` makes it, for engines that take a runtime by its path alone.
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

// startRuntimeNode starts a node with shimward in runc's place under the stock shim.
func startRuntimeNode(t *testing.T) (n *node.Node, below node.Spec) {
	t.Helper()
	link := runtimeLink(t)
	n = startGuardedNode(t, node.Options{Config: "[runc]\npath = '" + filepath.Join(engines(t), "runc") + "'\n"})
	return n, node.Spec{Runtime: node.Runc, Binary: link}
}

// named is a spec with an ID and annotations.
func named(spec node.Spec, id string, annotations map[string]string) node.Spec {
	spec.ID, spec.Annotations = id, annotations
	return spec
}

// Every vector, from a container of the stock shim with shimward as its runtime: as
// under shimward's own shim.
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

// A container's life under the stock shim has the records that it has under shimward's.
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

// With mode=off runc gets the spec that containerd made, byte for byte, and nobody monitors.
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

// What cannot be understood or guaranteed is an error that the user of the engine
// reads, and nothing is left.
func TestRuntimeRefused(t *testing.T) {
	n, below := startRuntimeNode(t)
	runc := "[runc]\npath = '" + filepath.Join(engines(t), "runc") + "'\n"
	for name, test := range map[string]struct {
		config string // of shimward; empty: a sound one
		spec   node.Spec
		want   []string // all in the error
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

// A monitor is killed: the guard stays in the kernel, the calls that its listener
// answered fail, the loss is on record, and nothing is left once the container is deleted.
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
	// An exec needs the listener's socket: as with a shim that is gone there is none.
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

// Somebody puts a socket in the place of the one that listeners are sent to: nothing
// is started in the container.
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

// The state of a guarded container is gone: nothing is started in it as if it had never been guarded.
func TestRuntimePlanLost(t *testing.T) {
	n, below := startRuntimeNode(t)
	c := mustStart(t, n, named(below, "forgotten", enforceStrict()))
	key := onlyKey(t, n)
	if err := os.Remove(n.Paths.Plan(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(testContext(t), "x", "/bin/true"); err == nil || !strings.Contains(err.Error(), "container forgotten is guarded, and what shimward kept of it") {
		t.Errorf("exec: %v", err)
	}
}

// Who says that a container was deleted while its processes live is not believed.
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

// A monitor, or the runtime, is killed while a container is being created, at
// whatever moment: nothing is left, and the next container of that name works.
func TestRuntimeKilledHalfway(t *testing.T) {
	n, below := startRuntimeNode(t)
	ctx := testContext(t)
	first := named(below, "first", enforceStrict())
	first.Args = []string{"/bin/true"}
	mustRun(t, n, first) // the first container of a node loads the programs
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

// onlyKey is the key of the node's only guarded container.
func onlyKey(t *testing.T, n *node.Node) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.Paths.Run, "containers"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	return entries[0].Name()
}

// parentOf is the pid of a process's parent, or 0.
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

// waitFor waits until something is true.
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

// withFailingHook has the container fail after it was put under guard.
func withFailingHook(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/false", Args: []string{"false"}}}}
	return nil
}

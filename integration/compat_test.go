package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// release is a containerd release under which shimward runs.
type release struct {
	engines string // the environment variable that names its directory
	config  int    // the version of its config
}

// releases returns the supported series of containerd, oldest first.
func releases() []release {
	return []release{{"SHIMWARD_ENGINES_1_7", 2}, {"SHIMWARD_ENGINES_2_2", 3}, {"SHIMWARD_ENGINES", 4}}
}

func (r release) options(t *testing.T) node.Options {
	t.Helper()
	engines := folder(t, r.engines, "containerd of each series (make test-compat)", "", "containerd")
	return node.Options{Engines: engines, ConfigVersion: r.config, CRI: true}
}

// TestCompat checks that one shim binary works with every supported containerd.
func TestCompat(t *testing.T) {
	for _, release := range releases() {
		t.Run(release.engines, func(t *testing.T) {
			n := startGuardedNode(t, release.options(t))
			t.Run("refused", func(t *testing.T) {
				wantRefused(t, n, node.Spec{Annotations: map[string]string{"shimward.dev/mod": "audit"}}, "shimward.dev/mod", "mode, profile")
			})
			t.Run("ctr", func(t *testing.T) { wantCtr(t, n) })
			t.Run("audit", func(t *testing.T) { wantAttacked(t, n, "audit") })
			t.Run("enforce", func(t *testing.T) { wantAttacked(t, n, "enforce") })
			t.Run("exec", func(t *testing.T) {
				c := mustStart(t, n, node.Spec{ID: "entered", Runtime: node.Shimward, Annotations: enforceStrict()})
				wantGuarded(t, n, c, "x", true)
			})
			t.Run("pod", func(t *testing.T) { tryPod(t, n) })
			wantSettled(t, n)
			t.Run("containerd killed", func(t *testing.T) { wantFoundAgain(t, n) })
			t.Run("shim killed", func(t *testing.T) { wantBereft(t, n) })
		})
	}
}

// wantCtr checks that the release's own ctr can run a container, and is refused an invalid one.
func wantCtr(t *testing.T, n *node.Node) {
	t.Helper()
	run := func(id, mode string) string {
		out, err := n.Tool(testContext(t), "ctr", "run", "--rm", "--runtime", node.Shimward,
			"--annotation", annotationMode+"="+mode, node.Image, id, "/bin/echo", "it", "runs").CombinedOutput()
		if (err == nil) != (mode == "enforce") {
			t.Errorf("ctr run under %s: %v", mode, err)
		}
		return string(out)
	}
	if out := run("sound", "enforce"); !strings.Contains(out, "it runs") {
		t.Errorf("the container did not run: %s", out)
	}
	if out := run("unsound", "Enforce!"); !strings.Contains(out, annotationMode) {
		t.Errorf("ctr does not say why it was refused: %s", out)
	}
	wantSettled(t, n)
}

// wantAttacked attacks a process in another container. The attack must be seen, and stopped in
// enforce mode.
func wantAttacked(t *testing.T, n *node.Node, mode string) {
	t.Helper()
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	spec := node.Spec{
		ID: "attacker-" + mode, Runtime: node.Shimward, PIDOf: victim,
		Annotations: map[string]string{annotationMode: mode},
	}
	attacks := attack(t, n, spec, "proc-mem-read", "process-vm-readv", "ptrace-attach")
	events := accesses(t, n, spec.ID)
	for _, r := range attacks.Results {
		if r.Through() != (mode == "audit") {
			t.Errorf("under %s: %s", mode, tell(r))
		}
		if found := by(events, r); len(found) != 1 {
			t.Errorf("%d events of %s, want 1:\n%s", len(found), tell(r), describe(found))
		}
	}
}

// wantFoundAgain kills and restarts containerd while two containers of a pod run in one shim.
// containerd must find both again, and they must be guarded.
func wantFoundAgain(t *testing.T, n *node.Node) {
	t.Helper()
	pod := startPod(t, n)
	if err := n.KillContainerd(); err != nil {
		t.Fatal(err)
	}
	if err := n.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	wantPod(t, n, pod, "again")
	deletePod(t, n, pod)
}

// wantBereft kills a shim and checks that containerd has the shim binary delete what it left
// behind.
func wantBereft(t *testing.T, n *node.Node) {
	t.Helper()
	ctx := testContext(t)
	c := mustDetach(t, n, node.Spec{Runtime: node.Shimward, Annotations: enforceStrict()})
	// A killed shim's socket stays, as with runc's shim. Before 2.3 it is outside the node's
	// directory.
	address, err := os.ReadFile(filepath.Join(c.Bundle(), "address"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if socket, ok := strings.CutPrefix(string(address), "unix://"); ok {
		t.Cleanup(func() { removeAll(t, socket) })
	}
	if err := n.KillShim(c.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.Gone(ctx); err != nil {
		t.Fatal(err)
	}
	deleteBereft(ctx, t, c)
	wantSettled(t, n)
}

// TestCompatUpgrade replaces a node's containerd by the next series, twice, while guarded
// containers run. Each must find the shim that the first one started.
func TestCompatUpgrade(t *testing.T) {
	all := releases()
	n := startGuardedNode(t, all[0].options(t))
	pod := startPod(t, n)
	for _, next := range all[1:] {
		if err := n.KillContainerd(); err != nil {
			t.Fatal(err)
		}
		options := next.options(t)
		if err := n.Replace(testContext(t), options.Engines, options.ConfigVersion); err != nil {
			t.Fatal(err)
		}
		wantPod(t, n, pod, next.engines)
	}
	deletePod(t, n, pod)
}

// TestCompatInstall adds the runtime to each release's config, in each of its versions, and removes
// it.
func TestCompatInstall(t *testing.T) {
	for _, release := range releases() {
		for version := 2; version <= release.config; version++ {
			for name, imports := range map[string]string{"drop-in": "'DIR/conf.d/*.toml'", "in place": ""} {
				t.Run(fmt.Sprintf("%s v%d %s", release.engines, version, name), func(t *testing.T) {
					config := fmt.Sprintf("version = %d\nimports = [%s]\n", version, imports)
					if release.config == 2 {
						// In 1.7, a runtime that is configured replaces all default runtimes.
						config += "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"
					}
					installAndUninstall(t, startInstallationOn(t, release.options(t), config))
				})
			}
		}
	}
}

// startPod starts two containers that share one shim.
func startPod(t *testing.T, n *node.Node) []*node.Container {
	t.Helper()
	var pod []*node.Container
	for _, id := range []string{"first", "second"} {
		annotations := maps.Clone(enforceStrict())
		annotations["io.containerd.runc.v2.group"] = "first"
		pod = append(pod, mustDetach(t, n, node.Spec{ID: id, Runtime: node.Shimward, Annotations: annotations}))
	}
	shims, err := n.Shims()
	if err != nil || len(shims) != 1 {
		t.Errorf("the pod's shims: %v, %v", shims, err)
	}
	return pod
}

// wantPod adopts a pod's containers after a restart and checks that they are guarded.
func wantPod(t *testing.T, n *node.Node, pod []*node.Container, execID string) {
	t.Helper()
	for _, c := range pod {
		if err := n.Adopt(testContext(t), c); err != nil {
			t.Fatal(err)
		}
		wantGuarded(t, n, c, execID, true)
	}
}

func deletePod(t *testing.T, n *node.Node, pod []*node.Container) {
	t.Helper()
	for i := len(pod) - 1; i >= 0; i-- {
		if err := pod[i].Delete(testContext(t)); err != nil {
			t.Error(err)
		}
		wantLife(t, n, pod[i].ID, event.KindCreated, event.KindStarted, event.KindExited, event.KindDeleted)
	}
	wantSettled(t, n)
}

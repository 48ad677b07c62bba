package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/emulate"
)

// TestRuntimeCommands tests shimward without containerd or an engine, with runc's commands: `run`
// guards a container as `create` and `start` do for engines, `restore` is refused, and all else is
// left to runc.
func TestRuntimeCommands(t *testing.T) {
	e := newEngine(t, "runc")
	e.makeRoot(t)
	root := []string{"--root", filepath.Join(e.dir, "runc")}
	under := func(config string) *engine {
		guarded := *e
		guarded.command = append([]string{e.link, "--shimward-config=" + e.config(config)}, root...)
		return &guarded
	}
	e.command = append([]string{"runc"}, root...)

	t.Run("runc's own", func(t *testing.T) {
		for _, args := range [][]string{{"--version"}, {"features"}, {"list"}, {"state", "nobody"}, {"no-such-command"}} {
			stock, got := e.do(t, args...), under("enforce").do(t, args...)
			// runc's log lines contain the time, so stderr's text is not compared.
			if got.Code != stock.Code || got.Stdout != stock.Stdout || (got.Stderr == "") != (stock.Stderr == "") {
				t.Errorf("%q: %s; runc's own: %s", args, got, stock)
			}
		}
	})
	t.Run("run", func(t *testing.T) {
		script := []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 7"}
		stock := e.do(t, "run", "--bundle", e.bundle(t, script...), "stock")
		if got := under("enforce").do(t, "run", "--bundle", e.bundle(t, script...), "guarded"); got != stock || got.Code != 7 {
			t.Errorf("%s; under runc: %s", got, stock)
		}
		e.wantNothingLeft(t)
	})
	for _, mode := range []string{"runc", "audit", "enforce"} {
		t.Run("attack under "+mode, func(t *testing.T) {
			runner := e
			if mode != "runc" {
				runner = under(mode)
			}
			args := append([]string{"/bin/shimward", "emulate", "--json", "--spawn", "--timeout=3m"}, engineVectors...)
			attacks := report(t, runner.do(t, "run", "--bundle", e.bundle(t, args...), "attacker-"+mode))
			for _, r := range attacks.Results {
				if r.Outcome != emulate.OutcomeUnsupported && r.Through() == (mode == "enforce") {
					t.Errorf("under %s: %s", mode, tell(r))
				}
			}
			e.wantNothingLeft(t)
			if mode != "runc" {
				wantLife(t, e.node, "attacker-"+mode, event.KindCreated, event.KindStarted, event.KindAccess, event.KindExited, event.KindDeleted)
			}
		})
	}
	t.Run("restore", func(t *testing.T) {
		bundle := e.bundle(t, "/bin/true")
		got := under("enforce").do(t, "restore", "--image-path", t.TempDir(), "--bundle", bundle, "restored")
		if got.Code == 0 || !strings.Contains(got.Stderr, "restored from a checkpoint") {
			t.Errorf("not refused: %s", got)
		}
		e.wantNothingLeft(t)
	})
}

// bundle creates a new bundle, for a container that runs a command in the image's root with the
// config of `runc spec`.
func (e *engine) bundle(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(testContext(t), e.link, "--shimward-config="+e.config("enforce"), "spec", "--bundle", dir).CombinedOutput(); err != nil {
		t.Fatalf("spec: %v: %s", err, out)
	}
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	spec.Process.Terminal, spec.Process.Args, spec.Root.Path = false, args, filepath.Join(e.dir, "rootfs")
	spec.Process.Rlimits = nil // this machine may not allow raising limits
	for _, set := range []*[]string{&spec.Process.Capabilities.Bounding, &spec.Process.Capabilities.Effective, &spec.Process.Capabilities.Permitted} {
		*set = append(slices.Clone(*set), "CAP_SYS_PTRACE")
	}
	if text, err = json.Marshal(&spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

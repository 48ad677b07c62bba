package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/internal/testenv"
)

// engine is a container engine that calls OCI runtimes. It has its own directory and uses shimward
// as its runtime.
type engine struct {
	dir  string
	node *node.Node // only its paths: there is no containerd of ours
	link string

	env []string
	// command is the engine's command line up to the subcommand.
	command []string
	// as returns the options of `run` that select a runtime with the given shimward config.
	as func(config string) []string
	// broken are words that the user has to see with the config "broken".
	broken []string
	// limits are options of every `run`, because this machine may not allow raising limits.
	limits []string
}

// The shimward configs of the engines' runtimes.
var engineConfigs = map[string]string{
	"enforce": "version = 1\ndefault_mode = 'enforce'\ndefault_profile = 'strict'\n",
	"audit":   "version = 1\ndefault_mode = 'audit'\ndefault_profile = 'strict'\n",
	"off":     "version = 1\ndefault_mode = 'off'\n",
	"broken":  "version = 1\nmood = 'good'\n",
}

func newEngine(t *testing.T, binaries ...string) *engine {
	t.Helper()
	testenv.Root(t)
	for _, binary := range binaries {
		if _, err := exec.LookPath(binary); err != nil {
			testenv.Missing(t, binary+" (scripts/install-deps test)")
		}
	}
	dir, err := os.MkdirTemp("", "sw-engine-") //nolint:usetesting // a socket's path must be short, and t.TempDir contains the name of the test
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{dir: dir, node: &node.Node{Dir: dir}, link: runtimeLink(t)}
	e.node.Paths.Run, e.node.Paths.Log = filepath.Join(dir, "run"), filepath.Join(dir, "log")
	bpffs := filepath.Join(dir, "bpffs")
	e.node.Paths.BPF = filepath.Join(bpffs, "shimward")
	if err := os.Mkdir(bpffs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(unix.Unmount(bpffs, unix.MNT_DETACH), os.RemoveAll(dir))
		if err != nil {
			t.Error(err)
		}
	})
	for name, text := range engineConfigs {
		if err := os.WriteFile(e.config(name), withPaths(e.node, text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func (e *engine) config(name string) string { return filepath.Join(e.dir, name+".toml") }

// do runs a command of the engine. It also works at the end of a test.
func (e *engine) do(t *testing.T, args ...string) node.Result {
	t.Helper()
	args = append(slices.Clone(e.command), args...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, append(os.Environ(), e.env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return node.Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

func (e *engine) must(t *testing.T, args ...string) string {
	t.Helper()
	result := e.do(t, args...)
	if result.Code != 0 {
		t.Fatalf("%s: %s", strings.Join(args, " "), result)
	}
	return strings.TrimSpace(result.Stdout)
}

// run returns the arguments of `run` under the given shimward config.
func (e *engine) run(config string, args ...string) []string {
	return slices.Concat([]string{"run", "--network=none"}, e.as(config), e.limits, args)
}

const engineImage = "shimward-test:1"

// makeRoot creates a root file system with busybox and shimward.
func (e *engine) makeRoot(t *testing.T) (root string) {
	t.Helper()
	root = filepath.Join(e.dir, "rootfs")
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	shimward, err := filepath.EvalSymlinks(e.link)
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"busybox": "/bin/busybox", "shimward": shimward} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "bin", name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sh", "sleep", "true", "id"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// importImage imports an image with busybox and shimward.
func (e *engine) importImage(t *testing.T, options ...string) {
	t.Helper()
	root := e.makeRoot(t)
	tar := filepath.Join(e.dir, "image.tar")
	if out, err := exec.CommandContext(testContext(t), "tar", "-C", root, "-cf", tar, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e.must(t, slices.Concat([]string{"import"}, options, []string{tar, engineImage})...)
}

// left returns what is left of containers.
func (e *engine) left() []string {
	var left []string
	for _, root := range []string{e.node.Paths.Run, e.node.Paths.BPF} {
		entries, err := os.ReadDir(filepath.Join(root, "containers"))
		if err != nil && !os.IsNotExist(err) {
			left = append(left, err.Error())
		}
		for _, entry := range entries {
			left = append(left, filepath.Join(root, entry.Name()))
		}
	}
	monitors, err := e.node.Monitors()
	if err != nil {
		left = append(left, err.Error())
	}
	for _, pid := range monitors {
		left = append(left, fmt.Sprintf("monitor %d", pid))
	}
	return left
}

func (e *engine) wantNothingLeft(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var left []string
	for ctx.Err() == nil {
		if left = e.left(); len(left) == 0 {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Errorf("left behind: %v", left)
}

// detach starts a container and returns its ID.
func (e *engine) detach(t *testing.T, config, name string) string {
	t.Helper()
	id := e.must(t, e.run(config, "-d", "--name="+name, "--cap-add=SYS_PTRACE", "--stop-signal=SIGKILL", engineImage, "/bin/sleep", "1000000")...)
	t.Cleanup(func() { e.do(t, "rm", "-f", "-v", name) })
	return id
}

// engineVectors are vectors of each kind that work within one container.
var engineVectors = []string{
	"proc-mem-read", "proc-mem-write", "task-mem-read", "mem-io-uring", "mem-scm-rights", "process-vm-readv", "process-vm-writev",
	"ptrace-attach", "ptrace-seize", "pidfd-getfd",
}

// tryEngine runs the tests that apply to every engine.
func (e *engine) tryEngine(t *testing.T) {
	t.Helper()
	t.Run("a program's output and exit code", func(t *testing.T) {
		for config := range engineConfigs {
			if config == "broken" {
				continue
			}
			result := e.do(t, e.run(config, "--rm", engineImage, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")...)
			if result.Code != 7 || result.Stdout != "out\n" || result.Stderr != "err\n" {
				t.Errorf("%s: %s", config, result)
			}
		}
		e.wantNothingLeft(t)
	})
	for _, mode := range []string{"enforce", "audit"} {
		t.Run(mode, func(t *testing.T) { e.tryMode(t, mode) })
	}
	t.Run("off", func(t *testing.T) {
		e.detach(t, "off", "off")
		if left := e.left(); len(left) > 0 {
			t.Errorf("an unguarded container has %v", left)
		}
		if got := e.must(t, "exec", "off", "/bin/id", "-u"); got != "0" {
			t.Errorf("exec: %q", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		result := e.do(t, e.run("broken", "--rm", engineImage, "/bin/true")...)
		for _, word := range e.broken {
			if result.Code == 0 || !strings.Contains(result.Stderr, word) {
				t.Errorf("the user does not read %q: %s", word, result)
			}
		}
		e.do(t, "container", "prune", "-f")
		e.wantNothingLeft(t)
	})
	t.Run("restarted", func(t *testing.T) {
		id := e.detach(t, "enforce", "restarted")
		for range 2 {
			e.must(t, "restart", "-t", "0", "restarted")
			e.attack(t, "restarted", true)
		}
		e.must(t, "rm", "-f", "restarted")
		e.wantNothingLeft(t)
		events, err := e.node.Events(testContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		deleted := 0
		for _, one := range events {
			if one.Kind == event.KindDeleted {
				deleted++
			}
		}
		if deleted != 3 {
			t.Errorf("%d ends on record, want 3:\n%s", deleted, describe(events))
		}
	})
	t.Run("monitor killed", func(t *testing.T) {
		e.detach(t, "enforce", "bereft")
		monitors, err := e.node.Monitors()
		if err != nil || len(monitors) != 1 {
			t.Fatalf("monitors: %v, %v", monitors, err)
		}
		if err := unix.Kill(monitors[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e.must(t, "rm", "-f", "bereft")
		e.wantNothingLeft(t)
	})
}

func (e *engine) tryMode(t *testing.T, mode string) {
	t.Helper()
	id := e.detach(t, mode, mode)
	results := e.attack(t, mode, mode == "enforce")
	e.must(t, "rm", "-f", mode)
	e.wantNothingLeft(t)
	events, err := e.node.Events(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[event.Kind]int{}
	for _, one := range events {
		kinds[one.Kind]++
	}
	for _, kind := range []event.Kind{event.KindCreated, event.KindStarted, event.KindExec, event.KindExited, event.KindDeleted} {
		if kinds[kind] == 0 {
			t.Errorf("no record of kind %s among %v", kind, kinds)
		}
	}
	accessed := slices.DeleteFunc(events, func(e event.Event) bool { return e.Kind != event.KindAccess })
	for _, r := range results {
		found := by(accessed, r)
		if r.Outcome == emulate.OutcomeUnsupported || !r.Access.SeenIn(tier(t)) {
			continue
		}
		if len(found) != 1 || found[0].Access.Vector != r.Access || found[0].Access.Actor.Origin == nil || found[0].Access.Actor.Origin.Kind != "exec" {
			t.Errorf("%s: the event of an exec's access is\n%s", tell(r), describe(found))
			continue
		}
		if stopped := found[0].Access.Verdict != access.VerdictObserved; stopped != (mode == "enforce") {
			t.Errorf("%s: verdict %s under %s", tell(r), found[0].Access.Verdict, mode)
		}
	}
}

// attack attacks within a container. The victim is a process that the attacker starts.
func (e *engine) attack(t *testing.T, name string, stopped bool) []emulate.Result {
	t.Helper()
	result := e.do(t, slices.Concat([]string{"exec", name, "/bin/shimward", "emulate", "--json", "--spawn", "--timeout=3m"}, engineVectors)...)
	var report emulate.Report
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, result)
	}
	if len(report.Results) != len(engineVectors) {
		t.Errorf("%d results of %d vectors", len(report.Results), len(engineVectors))
	}
	for _, r := range report.Results {
		if r.Outcome != emulate.OutcomeUnsupported && r.Access.SeenIn(tier(t)) && r.Through() == stopped {
			t.Errorf("the attack, where stopped should be %t: %s", stopped, tell(r))
		}
	}
	return report.Results
}

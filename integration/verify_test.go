package integration

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/internal/verify"
)

// verification runs shimward verify on its own node and with its own TMPDIR.
type verification struct {
	t   *testing.T
	n   *node.Node
	tmp string
}

func newVerification(t *testing.T, options node.Options) *verification {
	t.Helper()
	return &verification{t: t, n: startGuardedNode(t, options), tmp: t.TempDir()}
}

func (v *verification) command(args ...string) *exec.Cmd {
	args = append([]string{"verify", "--address", v.n.Socket(), "--config", v.n.ConfigPath()}, args...)
	cmd := v.n.Tool(testContext(v.t), "shimward", args...)
	cmd.Env = append(cmd.Env, "TMPDIR="+v.tmp)
	return cmd
}

// run returns the exit status, stdout and stderr.
func (v *verification) run(args ...string) (int, string, string) {
	v.t.Helper()
	cmd := v.command(args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		v.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// wantNothingLeft checks that a run left nothing behind, in containerd or elsewhere.
func (v *verification) wantNothingLeft() {
	v.t.Helper()
	ctx := testContext(v.t)
	all, err := v.n.Client.Containers(namespaces.WithNamespace(ctx, "shimward-verify"))
	if err != nil {
		v.t.Fatal(err)
	}
	for _, container := range all {
		v.t.Errorf("container %s was left", container.ID())
	}
	known, err := v.n.Client.NamespaceService().List(ctx)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, name := range known {
		if name == "shimward-verify" {
			v.t.Errorf("containerd's namespace %s was left", name)
		}
	}
	for _, pattern := range []string{
		filepath.Join(v.tmp, "*"),
		filepath.Join(v.n.Dir, "state/io.containerd.runtime.v2.task/shimward-verify/*"),
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			v.t.Errorf("left: %q", left)
		}
	}
	wantNoLeaks(v.t, v.n)
}

func TestVerifyHolds(t *testing.T) {
	v := newVerification(t, node.Options{})
	code, stdout, stderr := v.run("--json")
	if code != 0 {
		t.Fatalf("exit status %d\n%s%s", code, stdout, stderr)
	}
	var report verify.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if !report.Held || report.Tier != tier(t) {
		t.Errorf("held %t in tier %s, want true in %s", report.Held, report.Tier, tier(t))
	}
	for _, result := range report.Results {
		want := verify.VerdictHeld
		switch {
		case !result.Access.SeenIn(tier(t)):
			want = verify.VerdictUnseen
		case result.Runc == emulate.OutcomeUnsupported:
			want = verify.VerdictUnproved
		}
		if result.Verdict != want {
			t.Errorf("%s: %s, want %s (under runc: %s, under shimward: %s %s)", result.Name, result.Verdict, want, result.Runc, result.Shimward, result.Detail)
		}
	}
	v.wantNothingLeft()
}

func TestVerifyDoesNotHold(t *testing.T) {
	if tier(t) == access.TierLSM {
		t.Log("in the lsm tier without_lsm weakens nothing, so verify is to hold")
	}
	v := newVerification(t, node.Options{Config: `without_lsm = "audit"`})
	calls := filepath.Join(t.TempDir(), "calls")
	kubectl := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(kubectl, []byte("#!/bin/sh\necho \"$@\" >>"+calls+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := v.run("--label-node", "worker", "--kubeconfig", "/k", "--kubectl", kubectl)
	want, said, label := 1, "does NOT hold", "--kubeconfig /k label node worker shimward.dev/runtime-\n"
	if tier(t) == access.TierLSM {
		want, said, label = 0, "shimward holds", "--kubeconfig /k label node worker shimward.dev/runtime=ready --overwrite\n"
	}
	if code != want || !strings.Contains(stdout, said) {
		t.Errorf("exit status %d, want %d and %q\n%s%s", code, want, said, stdout, stderr)
	}
	if called, err := os.ReadFile(calls); err != nil || string(called) != label {
		t.Errorf("kubectl was called with %q (%v), want %q", called, err, label)
	}
	v.wantNothingLeft()
}

func TestVerifyCannot(t *testing.T) {
	v := newVerification(t, node.Options{})
	if err := v.n.SetRawConfig([]byte("version = 99\n")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--address", "/nonexistent.sock"}} {
		code, stdout, stderr := v.run(args...)
		if code != 2 || stderr == "" {
			t.Errorf("%q: exit status %d, want 2\n%s%s", args, code, stdout, stderr)
		}
		t.Log(stderr)
	}
	v.wantNothingLeft()
}

// TestVerifyThatCannotLabel checks that failing to set a label is an error, whatever the verdict.
func TestVerifyThatCannotLabel(t *testing.T) {
	v := newVerification(t, node.Options{})
	code, stdout, stderr := v.run("--label-node", "worker", "--kubectl", "false")
	if code != 2 || !strings.Contains(stdout, "shimward holds") || !strings.Contains(stderr, "could not be changed") {
		t.Errorf("exit status %d, want 2\n%s%s", code, stdout, stderr)
	}
	v.wantNothingLeft()
}

// TestVerifyThatIsInterrupted sends the signal while verify waits for the victim, and during
// attacks.
func TestVerifyThatIsInterrupted(t *testing.T) {
	v := newVerification(t, node.Options{})
	for _, during := range []string{"victim", "runc", "enforce"} {
		t.Run(during, func(t *testing.T) {
			code, stderr := v.signal(during, unix.SIGINT)
			if code != 2 || !strings.Contains(stderr, "interrupted") {
				t.Errorf("exit status %d, want 2 and \"interrupted\"\n%s", code, stderr)
			}
			v.wantNothingLeft()
		})
	}
}

// TestVerifyAfterOneThatWasKilled checks that verify removes what a killed one left behind.
func TestVerifyAfterOneThatWasKilled(t *testing.T) {
	v := newVerification(t, node.Options{})
	v.signal("enforce", unix.SIGKILL)
	if left, err := v.n.Client.Containers(namespaces.WithNamespace(testContext(t), "shimward-verify")); err != nil || len(left) == 0 {
		t.Fatalf("it left %d containers (%v), so this shows nothing", len(left), err)
	}
	if code, stdout, stderr := v.run(); code != 0 {
		t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
	}
	v.wantNothingLeft()
}

// TestVerifyThatLosesContainerd kills containerd during a run. The run must report that and end,
// and the next one must clean up.
func TestVerifyThatLosesContainerd(t *testing.T) {
	v := newVerification(t, node.Options{})
	code, stderr := v.during("runc", func(*os.Process) error { return v.n.KillContainerd() })
	if code != 2 || stderr == "" {
		t.Errorf("exit status %d, want 2 and a word\n%s", code, stderr)
	}
	if err := v.n.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := v.run(); code != 0 {
		t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
	}
	v.wantNothingLeft()
}

// TestVerifyBesideAnother checks that the second of two concurrent runs is refused and does not
// disturb the first.
func TestVerifyBesideAnother(t *testing.T) {
	v := newVerification(t, node.Options{})
	locked, err := os.Open(v.n.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(locked.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := v.run(); code != 2 || !strings.Contains(stderr, "another shimward verify is running") {
		t.Errorf("exit status %d, want 2\n%s%s", code, stdout, stderr)
	}
	if err := locked.Close(); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := v.run("--address", "unix://"+v.n.Socket()); code != 0 {
		t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
	}
	v.wantNothingLeft()
}

// signal sends a signal to a run once a container of that role has started.
func (v *verification) signal(role string, signal unix.Signal) (int, string) {
	v.t.Helper()
	return v.during(role, func(verify *os.Process) error { return verify.Signal(signal) })
}

// during calls do once a container of that role has started, and returns the run's exit status and
// stderr.
func (v *verification) during(role string, do func(verify *os.Process) error) (int, string) {
	v.t.Helper()
	events := v.n.Tool(testContext(v.t), "ctr", "--namespace", "shimward-verify", "events")
	out, err := events.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := events.Start(); err != nil {
		v.t.Fatal(err)
	}
	defer func() {
		_ = events.Process.Kill()
		_ = events.Wait()
	}()
	<-time.After(time.Second) // ctr does not report when it listens; a run needs longer than that to start its first container
	cmd := v.command()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	// Once the run has ended, there is nothing left to wait for.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = events.Process.Kill()
	}()
	seen := false
	for lines := bufio.NewScanner(out); !seen && lines.Scan(); {
		seen = strings.Contains(lines.Text(), "/tasks/start") && strings.Contains(lines.Text(), "-"+role+`"`)
	}
	if !seen {
		v.t.Errorf("the start of %s was not told", role)
	}
	if err := do(cmd.Process); err != nil {
		v.t.Error(err)
	}
	<-ended
	return cmd.ProcessState.ExitCode(), stderr.String()
}

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/policy"
)

// TestMain lets the test binary act as the processes that emulate starts from itself.
func TestMain(m *testing.M) {
	if os.Args[0] == "shimward" {
		main()
		return
	}
	// With the race detector, each of the many processes started here would sleep a second before
	// it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	m.Run()
}

// result is the outcome of a run.
type result struct {
	code           int
	stdout, stderr string
}

type setup struct {
	stdin string
	env   map[string]string
}

func shimward(t *testing.T, s setup, args ...string) result {
	t.Helper()
	dir := t.TempDir()
	input := filepath.Join(dir, "stdin")
	if err := os.WriteFile(input, []byte(s.stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(input)
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	code := exitStatus(stderr, run(t.Context(), environment{
		args: append([]string{"shimward"}, args...), stdin: stdin, stdout: &stdout, stderr: stderr,
		getenv: func(name string) string { return s.env[name] },
	}))
	said, err := os.ReadFile(stderr.Name())
	if err := errors.Join(err, stdin.Close(), stderr.Close()); err != nil {
		t.Fatal(err)
	}
	return result{code, stdout.String(), string(said)}
}

// node writes a config whose paths belong to the test, and returns both.
func node(t *testing.T) (string, policy.Paths) {
	t.Helper()
	dir := t.TempDir()
	paths := policy.Paths{Run: filepath.Join(dir, "run"), BPF: filepath.Join(dir, "bpf"), Log: filepath.Join(dir, "log")}
	config := filepath.Join(dir, "config.toml")
	content := "version = 1\n[paths]\nrun = \"" + paths.Run + "\"\nbpf = \"" + paths.BPF + "\"\nlog = \"" + paths.Log + "\"\n"
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, paths
}

func TestWrongUse(t *testing.T) {
	config, _ := node(t)
	for _, test := range []struct {
		args []string
		want string // in the output
	}{
		{[]string{"no-such"}, `no command is called "no-such"`},
		{[]string{"--no-such"}, "-no-such"},
		{[]string{"hook", "no-such"}, `no command is called "no-such"`},
		{[]string{"emulate"}, "no vector named"},
		{[]string{"emulate", "no-such"}, `no vector is called "no-such"`},
		{[]string{"emulate", "--spawn", "--child", "all"}, "mutually exclusive"},
		{[]string{"emulate", "--spawn", "--victim", "1", "all"}, "mutually exclusive"},
		{[]string{"emulate", "--victim", "2147483647", "all"}, "asking the victim"},
		{[]string{"emulate", "--socket", "/no/such", "--spawn", "all"}, "--socket"},
		{[]string{"emulate", "give"}, "name the process"},
		{[]string{"emulate", "victim", "--address", "here"}, "--address"},
		{[]string{"events", "--config", config, "something"}, "takes no argument"},
		{[]string{"events", "--config", config, "-o", "xml"}, "text, wide or json"},
		{[]string{"events", "--config", config, "--severity", "fatal"}, `--severity is "fatal": write info, warning or critical`},
		{[]string{"events", "--config", config, "--kind", "meal"}, "access, created"},
		{[]string{"events", "--config", config, "--since", "-5m"}, "before now"},
		{[]string{"events", "--config", config, "--since", "yesterday"}, "since"},
		{[]string{"events", "--config", "/no/such.toml"}, "no such file"},
		{[]string{"events", "--config", "relative.toml"}, "absolute"},
		{[]string{"ps", "--config", "/no/such.toml"}, "no such file"},
		{[]string{"ps", "--config", config, "something"}, "takes no argument"},
		{[]string{"doctor", "something"}, "takes no argument"},
		{[]string{"version", "something"}, "takes no argument"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			got := shimward(t, setup{}, test.args...)
			if got.code != statusError || !strings.Contains(got.stderr, test.want) {
				t.Errorf("exit status %d, said %q; want %d and %q", got.code, got.stderr, statusError, test.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--help"},
		{"hook"},
		{"emulate", "--help"},
		{"emulate", "victim", "--help"},
		{"events", "--help"},
		{"ps", "--help"},
		{"doctor", "--help"},
		{"runc", "--help"},
		{"runc", "-h"},
		{"help", "runc"},
	} {
		got := shimward(t, setup{}, args...)
		if got.code != 0 || !strings.Contains(got.stdout, "USAGE") || got.stderr != "" {
			t.Errorf("%q: exit status %d, %q, %q", args, got.code, got.stdout, got.stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	if got := shimward(t, setup{}, "version"); got.code != 0 || !strings.HasPrefix(got.stdout, "shimward ") {
		t.Errorf("got %+v", got)
	}
}

package ociruntime

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// fixture is a node's config, a runtime, and a bundle. The runtime is never started; the arguments
// that it would be started with are recorded.
type fixture struct {
	dir, config, runc, bundle string

	path string
	args []string
}

func newFixture(t *testing.T, config, spec string) *fixture {
	t.Helper()
	dir := testenv.ShortDir(t)
	f := &fixture{dir: dir, config: filepath.Join(dir, "config.toml"), runc: filepath.Join(dir, "runc"), bundle: filepath.Join(dir, "bundle")}
	paths := policy.Paths{Run: filepath.Join(dir, "r"), BPF: filepath.Join(dir, "bpf"), Log: filepath.Join(dir, "log")}
	text := config + "\n[paths]\nrun = \"" + paths.Run + "\"\nbpf = \"" + paths.BPF + "\"\nlog = \"" + paths.Log + "\"\n[runc]\npath = \"" + f.runc + "\"\n"
	if err := os.Mkdir(f.bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{f.config: text, f.runc: "", filepath.Join(f.bundle, "config.json"): spec} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

var errStarted = errors.New("started")

func (f *fixture) run(t *testing.T, environ map[string]string, args ...string) (stderr string, err error) {
	t.Helper()
	var said strings.Builder
	err = Run(t.Context(), Invocation{
		Args: args, Stderr: &said,
		Getenv: func(name string) string {
			if name == nodeconfig.Env && environ[name] == "" {
				return f.config
			}
			return environ[name]
		},
		Exec: func(path string, args, environ []string) error {
			f.path, f.args = path, args
			if !slices.Contains(environ, envBelow+"="+strconv.Itoa(os.Getpid())) {
				t.Error("the runtime's environment does not say that it is below shimward")
			}
			return errStarted
		},
	})
	return said.String(), err
}

func TestRunPassesOn(t *testing.T) {
	const off, sound = "version = 1\ndefault_mode = \"off\"", "version = 1"
	for name, test := range map[string]struct {
		config string
		args   []string
		want   []string // BUNDLE stands for the bundle
	}{
		"off":                   {off, []string{"--root", "/r", "create", "--bundle", "BUNDLE", "c"}, []string{"--root=/r", "create", "--bundle=BUNDLE", "--", "c"}},
		"off, a restore":        {off, []string{"restore", "-b", "BUNDLE", "c"}, []string{"restore", "--bundle=BUNDLE", "--", "c"}},
		"another command":       {sound, []string{"--root", "/r", "delete", "c"}, []string{"--root", "/r", "delete", "c"}},
		"an exec of nobody's":   {sound, []string{"exec", "c", "create"}, []string{"exec", "c", "create"}},
		"with a broken config":  {"[[[", []string{"--version"}, nil},
		"shimward's own option": {sound, []string{"--shimward-config=CONFIG", "list"}, []string{"list"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.config, `{"process":{"args":["/x"]}}`)
			fill := func(words []string) []string {
				var filled []string
				for _, word := range words {
					filled = append(filled, strings.NewReplacer("BUNDLE", f.bundle, "CONFIG", f.config).Replace(word))
				}
				return filled
			}
			_, err := f.run(t, nil, fill(test.args)...)
			if test.want == nil { // runc in a usual place, if this machine has it
				if !errors.Is(err, errStarted) && !strings.Contains(err.Error(), "install it") {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, errStarted) || f.path != f.runc || !slices.Equal(f.args, append([]string{"runc"}, fill(test.want)...)) {
				t.Errorf("started %s %q: %v", f.path, f.args, err)
			}
			if spec, err := os.ReadFile(filepath.Join(f.bundle, "config.json")); err != nil || string(spec) != `{"process":{"args":["/x"]}}` {
				t.Errorf("the spec is now %s, %v", spec, err)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config, spec string
		environ      map[string]string
		args         []string
		want         string
	}{
		"an unknown annotation": {"version = 1", `{"annotations":{"shimward.dev/mod":"off"}}`, nil, []string{"create", "-b", "BUNDLE", "c"}, "shimward.dev/mod"},
		"a broken config":       {"[[[", `{}`, nil, []string{"create", "-b", "BUNDLE", "c"}, "config"},
		"no bundle":             {"version = 1", `{}`, nil, []string{"create", "-b", "/nonexistent", "c"}, "find the bundle"},
		"an unknown option":     {"version = 1", `{}`, nil, []string{"create", "-b", "BUNDLE", "--config", "x", "c"}, "--config"},
		"itself below":          {"version = 1", `{}`, map[string]string{envBelow: strconv.Itoa(os.Getppid())}, []string{"state", "c"}, "shimward again"},
		"a spec with our hooks": {"version = 1", `{"hooks":{"createRuntime":[{"path":"/s","args":["shimward","hook","create-runtime"],"env":["SHIMWARD_RUN=/run/shimward"]}]}}`, nil, []string{"create", "-b", "BUNDLE", "c"}, "already contains shimward's hooks"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.config, test.spec)
			log := filepath.Join(f.dir, "log.json")
			args := []string{"--log", log, "--log-format", "json"}
			for _, word := range test.args {
				args = append(args, strings.ReplaceAll(word, "BUNDLE", f.bundle))
			}
			stderr, err := f.run(t, test.environ, args...)
			if f.path != "" || err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(stderr, "shimward: ") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("started %q; said %q; %v", f.path, stderr, err)
			}
			raw, err := os.ReadFile(log)
			var said struct{ Level, Msg string }
			if err != nil || json.Unmarshal(raw, &said) != nil || said.Level != "error" || said.Msg+"\n" != stderr {
				t.Errorf("the log has %q, %v", raw, err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for root, want := range map[string]string{"/run/containerd/runc/k8s.io": "k8s.io", "/run/runc/": "runc", defaultRoot: "runc", "/": "/"} {
		if got := namespaceOf(root); got != want {
			t.Errorf("the namespace of %s is %q, want %q", root, got, want)
		}
	}
	for file, want := range map[string]string{"/b/e1.pid": "e1", "/c/userdata/0123/exec_pid": "0123", "odd": "odd"} {
		if got := execName(file); got != want {
			t.Errorf("the exec of %s is %q, want %q", file, got, want)
		}
	}
}

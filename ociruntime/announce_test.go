package ociruntime

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/policy"
)

// keep writes a monitored container's plan where it would be for an engine's container with that
// ID.
func (f *fixture) keep(t *testing.T, id, namespace string) policy.Paths {
	t.Helper()
	paths := policy.Paths{Run: filepath.Join(f.dir, "r"), BPF: filepath.Join(f.dir, "bpf"), Log: filepath.Join(f.dir, "log")}
	config := policy.DefaultConfig()
	config.Paths = paths
	plan, err := config.Plan(policy.Facts{ID: id, Namespace: namespace, Bundle: f.bundle})
	if err != nil {
		t.Fatal(err)
	}
	plan.Monitored = true
	raw, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(paths.Container(plan.Identity.Key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.Plan(plan.Identity.Key), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return paths
}

// Starting anything in a container that has no monitor to answer for it is refused, however little
// of the command line, or of the state, is left to recognise the container by.
func TestAnnounceRefuses(t *testing.T) {
	const config = "version = 1"
	for name, test := range map[string]struct {
		args []string
		want string // "" if the runtime is started
	}{
		"an exec":                           {[]string{"--root", "ROOT", "exec", "guarded", "sh"}, "monitor is gone"},
		"a start":                           {[]string{"--root", "ROOT", "start", "guarded"}, "monitor is gone"},
		"an exec of another namespace's":    {[]string{"--root", "/run/other", "exec", "guarded", "sh"}, ""},
		"a later option of exec's":          {[]string{"--root", "ROOT", "exec", "--later", "guarded", "sh"}, `"--later"`},
		"a later option of start's":         {[]string{"--root", "ROOT", "start", "--later", "guarded"}, `"--later"`},
		"a later global option":             {[]string{"--later", "exec", "guarded", "sh"}, `"--later"`},
		"a later option, of nobody's":       {[]string{"exec", "--later", "other", "sh"}, ""},
		"help":                              {[]string{"exec", "--help"}, ""},
		"a later option, of a lost one":     {[]string{"--root", "ROOT", "exec", "--later", "lost", "sh"}, `"--later"`},
		"a later global one, of a lost one": {[]string{"--later", "--root=ROOT", "start", "lost"}, `"--later"`},
		"help of start's, behind":           {[]string{"start", "guarded", "--help"}, ""},
		"another config":                    {[]string{"--shimward-config", "ELSEWHERE", "--root", "ROOT", "exec", "guarded", "sh"}, "monitor is gone"},
		"guarded by the runtime's word":     {[]string{"--root", "ROOT", "exec", "lost", "sh"}, "shimward's state of it"},
		"not guarded by the runtime's word": {[]string{"--root", "ROOT", "exec", "free", "sh"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, config, `{}`)
			root := filepath.Join(f.dir, "k8s.io")
			paths := f.keep(t, "guarded", "k8s.io")
			elsewhere := filepath.Join(f.dir, "elsewhere.toml")
			text := strings.ReplaceAll("version = 1\n[paths]\nrun = \"DIR/a\"\nbpf = \"DIR/b\"\nlog = \"DIR/c\"\n[runc]\npath = \""+f.runc+"\"\n", "DIR", f.dir)
			if err := os.WriteFile(elsewhere, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			ours := `"createRuntime":[{"path":"/s","args":["shimward","hook","create-runtime"],"env":["SHIMWARD_RUN=` + paths.Run + `"]}]`
			for id, hooks := range map[string]string{"guarded": ours, "lost": ours, "free": ""} {
				state := `{"id":"` + id + `","config":{"labels":["bundle=` + f.bundle + `"],"Hooks":{` + hooks + `}}}`
				if err := os.MkdirAll(filepath.Join(root, id), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, id, "state.json"), []byte(state), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var args []string
			for _, word := range test.args {
				args = append(args, strings.NewReplacer("ROOT", root, "ELSEWHERE", elsewhere).Replace(word))
			}
			_, err := f.run(t, nil, args...)
			if test.want == "" && errors.Is(err, errStarted) {
				return
			}
			if test.want == "" || f.path != "" || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("started %q: %v; want %q", f.path, err, test.want)
			}
		})
	}
}

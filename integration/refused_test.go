package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// TestRefused checks that what shimward cannot understand or guarantee is an error that the user
// sees, that no container is partly created, and that nothing is left.
func TestRefused(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	for name, test := range map[string]struct {
		config string // shimward's config; a valid one if empty
		spec   node.Spec
		want   []string // all have to be in the error
	}{
		"garbage config":            {config: "this is [not TOML", want: []string{"config"}},
		"config of a later version": {config: "version = 99\n", want: []string{"version"}},
		"unknown key in the config": {config: "version = 1\nmood = 'good'\n", want: []string{"mood"}},
		"unknown annotation": {
			spec: node.Spec{Annotations: map[string]string{"shimward.dev/mod": "audit"}},
			want: []string{"shimward.dev/mod", "mode, profile"},
		},
		"malformed mode": {
			spec: node.Spec{Annotations: map[string]string{annotationMode: "Enforce!"}},
			want: []string{annotationMode, "audit", "enforce", "off"},
		},
		"profile that is not there": {
			spec: node.Spec{Annotations: map[string]string{annotationProfile: "no-such"}},
			want: []string{"no-such", "baseline", "strict"},
		},
		"respond, which nothing stands behind yet": {
			spec: node.Spec{Annotations: map[string]string{"shimward.dev/respond": "kill"}},
			want: []string{"shimward.dev/respond"},
		},
		"relative path to allow": {
			spec: node.Spec{Annotations: map[string]string{"shimward.dev/allow": "bin/gdb"}},
			want: []string{"shimward.dev/allow", "absolute"},
		},
		"below the floor": {
			config: "version = 1\n[[floor]]\nnamespaces = ['*']\nmode = 'enforce'\n",
			spec:   node.Spec{Annotations: map[string]string{annotationMode: "off"}},
			want:   []string{"enforce"},
		},
		"a listener of its own": {
			spec: node.Spec{Options: []oci.SpecOpts{withListener}},
			want: []string{"listener"},
		},
		"bundle without config.json": {spec: node.Spec{NoSpec: true}, want: []string{"config.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			write := func() error { return n.SetConfig("") }
			if test.config != "" {
				write = func() error { return n.SetRawConfig(withPaths(n, test.config)) }
			}
			if err := write(); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, n, test.spec, test.want...)
		})
	}
	// A valid container can still be created on the same node afterwards.
	if err := n.SetConfig(""); err != nil {
		t.Fatal(err)
	}
	if result := mustRun(t, n, node.Spec{Runtime: node.Shimward, Args: []string{"/bin/true"}}); result.Code != 0 {
		t.Errorf("a sound container: %s", result)
	}
}

// TestRefusedByNode checks that a node which lacks what shimward needs says so for each container,
// and creates none.
func TestRefusedByNode(t *testing.T) {
	t.Run("config that SHIMWARD_CONFIG names is not there", func(t *testing.T) {
		n := startGuardedNode(t, node.Options{})
		if err := os.Remove(n.ConfigPath()); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, n, node.Spec{}, n.ConfigPath())
	})
	t.Run("config is no file", func(t *testing.T) {
		n := startGuardedNode(t, node.Options{})
		if err := os.Remove(n.ConfigPath()); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(n.ConfigPath(), 0o700); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, n, node.Spec{}, n.ConfigPath())
	})
	t.Run("no bpffs", func(t *testing.T) {
		n := startGuardedNode(t, node.Options{})
		plain := filepath.Join(n.Dir, "plain")
		n.Paths.BPF = filepath.Join(plain, "shimward")
		if err := os.Mkdir(plain, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := n.SetConfig(""); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, n, node.Spec{}, "bpf", plain)
	})
	t.Run("no cgroup v2", func(t *testing.T) {
		const unified = "/sys/fs/cgroup/unified"
		if _, err := os.Stat(unified); err != nil {
			testenv.Elsewhere(t, "runc itself needs cgroup v2 here: there is no v1 beside it")
		}
		n := startGuardedNode(t, node.Options{Wrapper: []string{
			"unshare", "--mount", "--propagation=slave", "/bin/sh", "-c", "umount " + unified + ` && exec "$0" "$@"`,
		}})
		wantRefused(t, n, node.Spec{}, "cgroup v2")
	})
	// What only the createRuntime hook detects is reported through runc and the shim.
	t.Run("enforce without LSM where the config says refuse", func(t *testing.T) {
		if testenv.TakesLSM() {
			testenv.Elsewhere(t, "is for a kernel without BPF LSM: this one can refuse with an errno")
		}
		n := startGuardedNode(t, node.Options{Config: `without_lsm = "refuse"`})
		wantRefused(t, n, node.Spec{Annotations: enforceStrict()}, "does not run BPF LSM programs", "without_lsm", annotationMode)
		audit := map[string]string{annotationMode: "audit"}
		if result := mustRun(t, n, node.Spec{Runtime: node.Shimward, Args: []string{"/bin/true"}, Annotations: audit}); result.Code != 0 {
			t.Errorf("a container that asks for audit: %s", result)
		}
	})
	t.Run("hook binary missing", func(t *testing.T) {
		const shim = "containerd-shim-shimward-v1"
		bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", shim)
		alone := t.TempDir()
		content, err := os.ReadFile(filepath.Join(bin, shim))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(alone, shim), content, 0o755); err != nil {
			t.Fatal(err)
		}
		n := startNode(t, node.Options{Bin: alone})
		wantRefused(t, n, node.Spec{}, filepath.Join(alone, "shimward-hook"))
	})
}

// wantRefused tries to create a container that must be refused, and checks that the error says why
// and that nothing of the container is left.
func wantRefused(t *testing.T, n *node.Node, spec node.Spec, want ...string) {
	t.Helper()
	spec.Runtime = node.Shimward
	wantNotCreated(t, n, spec, want...)
	wantNoLeaks(t, n)
}

// wantWords checks that a refusal says why.
func wantWords(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Error("it was not refused")
		return
	}
	t.Logf("refused with: %v", err)
	for _, word := range want {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
}

// wantNotCreated tries to create a container that must be refused, under the runtime that the spec
// names, and checks that the error says why.
func wantNotCreated(t *testing.T, n *node.Node, spec node.Spec, want ...string) {
	t.Helper()
	ctx := testContext(t)
	c, err := n.RunDetached(ctx, spec)
	if err == nil {
		t.Error("the container was created and started")
		if err := c.Delete(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		return
	}
	wantWords(t, err, want...)
}

// withPaths inserts the node's own paths into a config, before its first table.
func withPaths(n *node.Node, config string) []byte {
	if strings.Contains(config, "not TOML") {
		return []byte(config)
	}
	return []byte(config + "\n[paths]\nrun = '" + n.Paths.Run + "'\nbpf = '" + n.Paths.BPF + "'\nlog = '" + n.Paths.Log + "'\n")
}

func withListener(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		ListenerPath:  "/run/somebody-elses.sock",
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdirat"}, Action: specs.ActNotify}},
	}
	return nil
}

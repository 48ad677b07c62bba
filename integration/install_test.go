package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/integration/internal/node"
)

// installation is a prefix and a containerd config of a node's own.
type installation struct {
	t      *testing.T
	n      *node.Node
	bin    string
	config string
	prefix string
}

func (i *installation) shimward(command string, args ...string) (string, error) {
	i.t.Helper()
	args = append([]string{
		command, "--prefix", i.prefix, "--containerd-config", i.config,
		"--containerd", filepath.Join(engines(i.t), "containerd"), "--config", i.n.ConfigPath(),
	}, args...)
	said, err := i.n.Tool(testContext(i.t), filepath.Join(i.bin, "shimward"), args...).CombinedOutput()
	return string(said), err
}

func (i *installation) dump() string {
	i.t.Helper()
	said, err := i.n.Tool(testContext(i.t), "containerd", "--config", i.config, "config", "dump").Output()
	if err != nil {
		i.t.Fatal(err)
	}
	return string(said)
}

// startInstallation starts a node whose containerd looks for shims in a prefix
// that is empty yet.
func startInstallation(t *testing.T, config string) *installation {
	t.Helper()
	dir := t.TempDir()
	i := &installation{t: t, prefix: filepath.Join(dir, "prefix"), config: filepath.Join(dir, "config.toml")}
	i.bin = folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	absolute, err := filepath.Abs(i.bin)
	if err != nil {
		t.Fatal(err)
	}
	i.bin = absolute
	i.n = startNode(t, node.Options{Bin: filepath.Join(i.prefix, "bin")})
	i.write(strings.ReplaceAll(config, "DIR", dir))
	return i
}

func (i *installation) write(config string) {
	i.t.Helper()
	if err := os.WriteFile(i.config, []byte(config), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

func (i *installation) must(command string, want string, args ...string) {
	i.t.Helper()
	if said, err := i.shimward(command, args...); err != nil || !strings.Contains(said, want) {
		i.t.Fatalf("shimward %s did not say %q: %v\n%s", command, want, err, said)
	}
}

func (i *installation) refused(command string, want string) {
	i.t.Helper()
	if said, err := i.shimward(command); err == nil || !strings.Contains(said, want) {
		i.t.Fatalf("shimward %s was not refused with %q: %v\n%s", command, want, err, said)
	}
}

func TestInstallAndUninstall(t *testing.T) {
	for name, config := range map[string]string{
		"v2 drop-in":  "version = 2\nimports = ['DIR/conf.d/*.toml']\n",
		"v3 drop-in":  "version = 3\nimports = ['DIR/conf.d/*.toml']\n",
		"v4 drop-in":  "version = 4\nimports = ['DIR/conf.d/*.toml']\n",
		"v2 in place": "version = 2\nimports = []\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.other]\nruntime_type = 'x'",
		"v3 in place": "version = 3\nimports = []\n",
		"v4 in place": "version = 4\nimports = []\n# the end",
	} {
		t.Run(name, func(t *testing.T) { installAndUninstall(t, config) })
	}
}

func installAndUninstall(t *testing.T, config string) {
	t.Helper()
	ctx := testContext(t)
	i := startInstallation(t, config)
	root, err := os.ReadFile(i.config)
	if err != nil {
		t.Fatal(err)
	}
	before := i.dump()

	i.must("install", "would: put", "--dry-run")
	if _, err := os.Stat(i.prefix); err == nil {
		t.Fatal("a dry run made the prefix")
	}
	i.must("install", "systemctl restart containerd")
	if after := i.dump(); !strings.Contains(after, "runtimes.shimward]") {
		t.Fatalf("the runtime is not in containerd's config:\n%s", after)
	}
	i.must("install", "nothing to do")
	i.must("install", "do nothing", "--dry-run")

	c, err := i.n.RunDetached(ctx, node.Spec{Runtime: node.Shimward})
	if err != nil {
		t.Fatal(err)
	}
	i.refused("uninstall", c.ID)
	if err := c.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	i.must("uninstall", "removed the runtime")
	i.must("uninstall", "do nothing")
	if after := i.dump(); after != before {
		t.Errorf("containerd's config before:\n%s\nand after:\n%s", before, after)
	}
	if left, err := os.ReadFile(i.config); err != nil || string(left) != string(root) {
		t.Errorf("of the config was left %q (%v)", left, err)
	}
	for _, gone := range []string{filepath.Join(i.prefix, "lib", "shimward"), filepath.Join(filepath.Dir(i.config), "conf.d"), i.config + ".before-shimward"} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s was left", gone)
		}
	}
}

func TestInstallRefusesAndLeavesNothing(t *testing.T) {
	i := startInstallation(t, "version = 3\nimports = []\n")
	const cri = "[plugins.'io.containerd.cri.v1.runtime'.containerd"
	for _, test := range []struct{ config, want string }{
		{"version = 3\n[plugins", "mend it first"},
		{"root = '/x'\nimports = []\n", "config version 0"},
		{"version = 3\nimports = []\n" + cri + ".runtimes.shimward]\nruntime_type = 'io.containerd.runc.v2'\n", "not shimward's"},
		{"version = 3\nimports = []\n" + cri + "]\nruntimes = {other = {runtime_type = 'x'}}\n", "config dump"},
	} {
		i.write(test.config)
		i.refused("install", test.want)
		left, err := os.ReadFile(i.config)
		if err != nil || string(left) != test.config {
			t.Errorf("of %q was left %q (%v)", test.config, left, err)
		}
		entries, err := os.ReadDir(filepath.Dir(i.config))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != "config.toml" && entry.Name() != "prefix" {
				t.Errorf("%q left %s", test.config, entry.Name())
			}
		}
		if left, _ := filepath.Glob(filepath.Join(i.prefix, "*", "*")); len(left) > 0 {
			t.Errorf("%q left %q", test.config, left)
		}
	}
}

func TestInstallKeepsALinkedConfigALink(t *testing.T) {
	i := startInstallation(t, "version = 3\nimports = []\n")
	real := filepath.Join(t.TempDir(), "real.toml")
	if err := os.Rename(i.config, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, i.config); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o440); err != nil {
		t.Fatal(err)
	}
	i.must("install", "to the end of")
	info, err := os.Stat(real)
	if err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("the config's mode: %v %v", info, err)
	}
	i.must("uninstall", "removed the runtime")
	if target, err := os.Readlink(i.config); err != nil || target != real {
		t.Errorf("the config is no link any more: %q %v", target, err)
	}
}

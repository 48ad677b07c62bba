package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/install"
)

// installation is a prefix and a containerd config on a node of its own.
type installation struct {
	t      *testing.T
	n      *node.Node
	bin    string
	config string
	prefix string
	// engines is the directory with the containerd that the config is for.
	engines string
}

func (i *installation) shimward(command string, args ...string) (string, error) {
	i.t.Helper()
	args = append([]string{
		command, "--prefix", i.prefix, "--containerd-config", i.config,
		"--containerd", filepath.Join(i.engines, "containerd"), "--config", i.n.ConfigPath(),
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

// startInstallation starts a node whose containerd looks for shims in a prefix that is still empty.
func startInstallation(t *testing.T, config string) *installation {
	t.Helper()
	return startInstallationOn(t, node.Options{Engines: engines(t)}, config)
}

func startInstallationOn(t *testing.T, options node.Options, config string) *installation {
	t.Helper()
	dir := t.TempDir()
	i := &installation{t: t, prefix: filepath.Join(dir, "prefix"), config: filepath.Join(dir, "config.toml"), engines: options.Engines}
	i.bin = folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	absolute, err := filepath.Abs(i.bin)
	if err != nil {
		t.Fatal(err)
	}
	i.bin = absolute
	options.Bin = filepath.Join(i.prefix, "bin")
	i.n = startNode(t, options)
	i.write(strings.ReplaceAll(config, "DIR", dir))
	return i
}

func (i *installation) write(config string) {
	i.t.Helper()
	if err := os.WriteFile(i.config, []byte(config), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

func (i *installation) must(command, want string, args ...string) {
	i.t.Helper()
	if said, err := i.shimward(command, args...); err != nil || !strings.Contains(said, want) {
		i.t.Fatalf("shimward %s did not say %q: %v\n%s", command, want, err, said)
	}
}

func (i *installation) refused(command, want string) {
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
		"v3 of a node with systemd's cgroups": "version = 3\nimports = ['DIR/conf.d/*.toml']\n" +
			"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n" +
			"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n",
		"v4 in place": "version = 4\nimports = []\n# the end",
	} {
		t.Run(name, func(t *testing.T) { installAndUninstall(t, startInstallation(t, config)) })
	}
}

func installAndUninstall(t *testing.T, i *installation) {
	t.Helper()
	ctx := testContext(t)
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
	} else if strings.Count(after, "SystemdCgroup = true") != 2*strings.Count(before, "SystemdCgroup = true") {
		t.Errorf("runc's options are not shimward's in containerd's config:\n%s", after)
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
		{"version = 3\n[plugins", "fix it first"},
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

// TestUpgradeUnderARunningContainer checks that a running container keeps the files that it was
// started from.
func TestUpgradeUnderARunningContainer(t *testing.T) {
	ctx := testContext(t)
	i := startInstallation(t, "version = 3\nimports = []\n")
	i.must("install", "linked")
	c, err := i.n.RunDetached(ctx, node.Spec{Runtime: node.Shimward})
	if err != nil {
		t.Fatal(err)
	}
	newer := t.TempDir()
	for _, name := range install.Binaries() {
		text, err := os.ReadFile(filepath.Join(i.bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(newer, name), append(text, "newer"...), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	i.bin = newer
	i.must("install", "linked")
	if result, err := c.Exec(ctx, "after", "/bin/true"); err != nil || result.Code != 0 {
		t.Errorf("exec after the upgrade: %v %v", result, err)
	}
	if result, err := i.n.Run(ctx, node.Spec{Runtime: node.Shimward, Args: []string{"/bin/true"}}); err != nil || result.Code != 0 {
		t.Errorf("a container after the upgrade: %v %v", result, err)
	}
	i.refused("uninstall", c.ID)
	if err := c.Delete(ctx); err != nil {
		t.Error(err)
	}
	i.must("uninstall", "removed the runtime")
	if _, err := os.Stat(filepath.Join(i.prefix, "lib", "shimward")); err == nil {
		t.Error("the older version was left")
	}
}

// TestInstallThatIsInterrupted sends the signal while install asks containerd about the config that
// it has just written.
func TestInstallThatIsInterrupted(t *testing.T) {
	i := startInstallation(t, "version = 3\nimports = ['DIR/conf.d/*.toml']\n")
	before := i.dump()
	interrupted := func(signal, then string) {
		t.Helper()
		wrapper := filepath.Join(t.TempDir(), "containerd")
		script := "#!/bin/sh\n[ ! -e " + filepath.Dir(i.config) + "/conf.d ] || { kill -" + signal + " $PPID; " + then + "; }\nexec " + filepath.Join(engines(t), "containerd") + " \"$@\"\n"
		if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if said, err := i.shimward("install", "--containerd", wrapper); err == nil {
			t.Fatalf("SIG%s did not end it:\n%s", signal, said)
		}
	}
	interrupted("INT", "exec sleep infinity") // SIGINT ends the sleep, too
	if after := i.dump(); after != before {
		t.Errorf("SIGINT left this config:\n%s", after)
	}
	if left, _ := filepath.Glob(filepath.Join(i.prefix, "*", "*")); len(left) > 0 {
		t.Errorf("SIGINT left %q", left)
	}
	interrupted("KILL", ":")
	// containerd may be running without the config that is there.
	i.must("install", "systemctl restart containerd")
	if record, err := install.Load(i.prefix); err != nil || record.Written.IsZero() {
		t.Errorf("when its config was changed is not known: %v %v", record, err)
	}
	i.must("install", "nothing to do")
	i.must("uninstall", "removed the runtime")
	if after := i.dump(); after != before {
		t.Errorf("of an install that was killed was left:\n%s", after)
	}
}

func TestInstallKeepsALinkedConfigALink(t *testing.T) {
	i := startInstallation(t, "version = 3\nimports = []\n")
	target := filepath.Join(t.TempDir(), "real.toml")
	if err := os.Rename(i.config, target); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, i.config); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(target, 0o440); err != nil {
		t.Fatal(err)
	}
	i.must("install", "to the end of")
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("the config's mode: %v %v", info, err)
	}
	if info, err := os.Stat(i.config + ".before-shimward"); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("the mode of the config as it was: %v %v", info, err)
	}
	i.must("uninstall", "removed the runtime")
	if now, err := os.Readlink(i.config); err != nil || now != target {
		t.Errorf("the config is no link any more: %q %v", now, err)
	}
}

// TestInstallAfterTheConfigWasReplaced replaces the config that contains shimward's block by one
// that imports drop-ins.
func TestInstallAfterTheConfigWasReplaced(t *testing.T) {
	i := startInstallation(t, "version = 3\nimports = []\n")
	i.must("install", "kept that file")
	i.write("version = 3\nimports = ['" + filepath.Dir(i.config) + "/conf.d/*.toml']\n")
	i.must("install", "conf.d/shimward.toml")
	i.must("uninstall", "removed the runtime")
	for _, gone := range []string{filepath.Join(filepath.Dir(i.config), "conf.d"), i.config + ".before-shimward"} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s was left", gone)
		}
	}
}

func TestUninstallWithoutTheConfig(t *testing.T) {
	i := startInstallation(t, "version = 3\nimports = []\n")
	i.must("install", "kept that file")
	if err := os.Remove(i.config); err != nil {
		t.Fatal(err)
	}
	i.must("uninstall", "removed "+i.prefix)
	if text, err := os.ReadFile(i.config + ".before-shimward"); err != nil || string(text) != "version = 3\nimports = []\n" {
		t.Errorf("the last of the config is %q (%v)", text, err)
	}
}

package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// bundleWith creates a bundle with that config.json.
func bundleWith(t *testing.T, config string) string {
	t.Helper()
	bundle := t.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return bundle
}

func TestReadSpecRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"no file": {func(*testing.T, string) {}, "has no config.json"},
		"a link": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.Symlink("/etc/passwd", path); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		"a folder": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		"a pipe that nobody writes to": {func(t *testing.T, path string) {
			t.Helper()
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		"too large": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, maxSpec+1); err != nil {
				t.Fatal(err)
			}
		}, "larger than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			test.prepare(t, filepath.Join(bundle, "config.json"))
			if _, err := readSpec(bundle); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("says %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, config := range map[string]string{
		"empty":                  ``,
		"half":                   `{"annotations":`,
		"a list":                 `[]`,
		"annotations a list":     `{"annotations":[]}`,
		"annotations of numbers": `{"annotations":{"a":1}}`,
		"linux a string":         `{"linux":"x"}`,
		"syscalls a number":      `{"linux":{"seccomp":{"syscalls":5}}}`,
	} {
		spec, err := readSpec(bundleWith(t, config))
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := spec.parse(); err == nil {
			t.Errorf("%s: took it for %+v", name, parsed)
		}
	}
}

// Under mode=off, a spec that this version cannot read is the runtime's business alone.
func TestPlanOfALaterSpec(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(config, []byte("version = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[string]bool{"off": true, "audit": false, "enforce": false} {
		bundle := bundleWith(t, `{"annotations":{"shimward.dev/mode":"`+mode+`"},"linux":{"seccomp":{"syscalls":5}},"mounts":{"later":1}}`)
		planned, err := Plan(Request{ID: "a", Namespace: "n", Bundle: bundle, ConfigFile: config})
		if (err == nil) != ok || ok && !planned.Off() {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestRootfs(t *testing.T) {
	for path, want := range map[string]string{"rootfs": "/b/rootfs", "/images/../a": "/a", "": "/b"} {
		var spec policy.Spec
		spec.Root.Path = path
		if got := rootfs(&spec, "/b"); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestGuarded(t *testing.T) {
	entry := hooks.Entry{Binary: "/b/shimward", Run: "/r"}
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/s"}
	const config = `{"later":{"x":1.50},"linux":{"resources":{"n":18446744073709551615},"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"flags":["F"],"later":[1]}}}`
	got, err := guardedSpec([]byte(config), entry, profile)
	if err != nil {
		t.Fatal(err)
	}
	var fields struct {
		Linux struct {
			Seccomp   map[string]json.RawMessage `json:"seccomp"`
			Resources json.RawMessage            `json:"resources"`
		} `json:"linux"`
		Later json.RawMessage `json:"later"`
	}
	if err := json.Unmarshal(got, &fields); err != nil {
		t.Fatal(err)
	}
	if string(fields.Later) != `{"x":1.50}` || string(fields.Linux.Resources) != `{"n":18446744073709551615}` {
		t.Errorf("changed what it does not know: %s", got)
	}
	want := map[string]string{"defaultAction": `"SCMP_ACT_ALLOW"`, "listenerPath": `"/s"`, "later": `[1]`}
	for name, value := range want {
		if string(fields.Linux.Seccomp[name]) != value {
			t.Errorf("seccomp.%s is %s, want %s", name, fields.Linux.Seccomp[name], value)
		}
	}
	if len(fields.Linux.Seccomp) != len(want) {
		t.Errorf("seccomp has what the merged profile has not: %v", fields.Linux.Seccomp)
	}
	again, err := guardedSpec(got, entry, profile)
	if err != nil || string(again) != string(got) {
		t.Errorf("edited twice: %s, %v", again, err)
	}
}

func TestWriteKeepsModeAndOwner(t *testing.T) {
	testenv.Root(t)
	bundle := bundleWith(t, `{"old":1}`)
	path := filepath.Join(bundle, "config.json")
	if err := os.Chown(path, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Close() })
	spec, err := readSpec(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.write([]byte(`{"new":1}`)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Perm() != 0o640 || stat.Uid != 1234 || stat.Gid != 4321 {
		t.Errorf("mode %v, owner %+v", info.Mode(), stat)
	}
	// Whoever opened the old file before still reads all of it.
	before := make([]byte, 16)
	n, err := old.Read(before)
	if err != nil || string(before[:n]) != `{"old":1}` {
		t.Errorf("the old file reads %q, %v", before[:n], err)
	}
	entries, err := os.ReadDir(bundle)
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestWriteLeavesNothingHalf(t *testing.T) {
	bundle := bundleWith(t, `{"old":1}`)
	spec, err := readSpec(bundle)
	if err != nil {
		t.Fatal(err)
	}
	// The target cannot be replaced: it is a folder that is not empty.
	spec.path = filepath.Join(bundle, "folder")
	if err := os.MkdirAll(filepath.Join(spec.path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := spec.write([]byte(`{}`)); err == nil {
		t.Fatal("replaced a folder")
	}
	entries, err := os.ReadDir(bundle)
	if err != nil || len(entries) != 2 {
		t.Errorf("left %v, %v", entries, err)
	}
}

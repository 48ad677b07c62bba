package nodeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.toml", "version = 1\ndefault_mode = \"enforce\"\n")
	garbage := write("garbage.toml", "\x00\xff = [[[")
	large := write("large.toml", strings.Repeat("#", policy.MaxConfigBytes+1))
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.toml")
	dangling := filepath.Join(dir, "dangling.toml")
	if err := os.Symlink(missing, dangling); err != nil {
		t.Fatal(err)
	}
	open := write("open.toml", "version = 1\n")
	if err := os.Chmod(open, 0o646); err != nil { // whatever the umask is
		t.Fatal(err)
	}

	for _, test := range []struct {
		name, named, otherwise string
		mode                   policy.Mode
		from, wrong            string
	}{
		{name: "named", named: good, otherwise: missing, mode: policy.ModeEnforce, from: good},
		{name: "at the usual place", otherwise: good, mode: policy.ModeEnforce, from: good},
		{name: "none", otherwise: missing, mode: policy.ModeAudit},
		{name: "named and missing", named: missing, otherwise: good, wrong: "no such file"},
		{name: "a link to nothing", named: dangling, otherwise: good, wrong: "no such file"},
		{name: "a link to nothing at the usual place", otherwise: dangling, wrong: "does not exist"},
		{name: "relative", named: "config.toml", otherwise: good, wrong: "absolute"},
		{name: "garbage", named: garbage, wrong: garbage},
		{name: "garbage at the usual place", otherwise: garbage, wrong: garbage},
		{name: "too large", named: large, wrong: "bytes"},
		{name: "anybody's", named: open, wrong: "chmod o-w"},
		{name: "anybody's at the usual place", otherwise: open, wrong: "chmod o-w"},
		{name: "a folder", named: dir, wrong: "regular file"},
		{name: "a pipe that nobody writes to", named: pipe, wrong: "regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, from, err := load(test.named, test.otherwise)
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Fatalf("got %v, want an error with %q", err, test.wrong)
				}
				return
			}
			if err != nil || config.DefaultMode != test.mode || from != test.from {
				t.Errorf("got mode %s from %q, %v; want %s from %q", config.DefaultMode, from, err, test.mode, test.from)
			}
		})
	}
}

// A config that belongs to another user is refused, because that user could change it at any time.
func TestLoadOthers(t *testing.T) {
	testenv.Root(t) // only root can change a file's owner
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("version = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if err := os.Chown(path, nobody, -1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("got %v", err)
	}
}

// A config that another group can write is refused too, but root's own group may have write
// permission.
func TestLoadGroups(t *testing.T) {
	testenv.Root(t)
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("version = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o664); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	if _, _, err := Load(path); err != nil {
		t.Error(err)
	}
	if err := os.Chown(path, -1, 1000); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod g-w") {
		t.Errorf("got %v", err)
	}
}

package ociruntime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindRunc(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return path
	}
	link := func(name, target string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	self, runc := file("shimward", 0o755), file("runc", 0o755)
	selfLink, runcLink := link("shimward-runc", self), link("alternative", runc)
	loop := link("loop", filepath.Join(dir, "loop"))
	none := filepath.Join(dir, "none")

	for name, test := range map[string]struct {
		configured  string
		usual       []string
		want, wrong string
	}{
		"configured":                  {configured: runc, want: runc},
		"configured through a link":   {configured: runcLink, want: runcLink},
		"the first usual one":         {usual: []string{none, runc, self}, want: runc},
		"not itself at a usual place": {usual: []string{selfLink, runcLink}, want: runcLink},
		"none":                        {usual: []string{none, self}, wrong: "install it"},
		"relative":                    {configured: "runc", wrong: "absolute"},
		"itself":                      {configured: self, wrong: "is shimward itself"},
		"itself through a link":       {configured: selfLink, wrong: "is shimward itself"},
		"a loop":                      {configured: loop, wrong: "loop of links"},
		"missing":                     {configured: none, usual: []string{runc}, wrong: "no such file"},
		"a folder":                    {configured: dir, wrong: "not an executable file"},
		"not executable":              {configured: file("plain", 0o644), wrong: "not an executable file"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findRunc(test.configured, self, test.usual)
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("got %q, %v, want an error with %q", got, err, test.wrong)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// Nothing is started with a runtime that others can change, but existing containers can be deleted
// with it.
func TestRunDistrusts(t *testing.T) {
	f := newFixture(t, "version = 1\ndefault_mode = \"off\"", `{}`)
	if err := os.Chmod(f.runc, 0o757); err != nil { // whatever the umask
		t.Fatal(err)
	}
	for _, args := range [][]string{{"create", "--bundle", f.bundle, "c"}, {"start", "c"}, {"exec", "c", "sh"}} {
		if _, err := f.run(t, nil, args...); err == nil || !strings.Contains(err.Error(), "written by everybody") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, err := f.run(t, nil, "delete", "--force", "c"); !errors.Is(err, errStarted) {
		t.Errorf("delete: %v", err)
	}
	if err := CheckRunc(f.runc); err == nil || !strings.Contains(err.Error(), "written by everybody") {
		t.Errorf("check: %v", err)
	}
}

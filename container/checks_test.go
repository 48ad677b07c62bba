package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindHook(t *testing.T) {
	beside, path, alone := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{beside, path} {
		if err := os.WriteFile(filepath.Join(dir, HookBinary), []byte("#!"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		shim, path string
		want       string // a folder
		err        string
	}{
		"beside the shim":        {shim: beside, path: path, want: beside},
		"in PATH":                {shim: alone, path: "/nonexistent:" + path, want: path},
		"nowhere":                {shim: alone, path: "/nonexistent", err: "install it beside"},
		"in the bundle, by PATH": {shim: alone, path: ".", err: "install it beside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(path)
			t.Setenv("PATH", test.path)
			got, err := FindHook(filepath.Join(test.shim, "containerd-shim-shimward-v1"))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if want := filepath.Join(test.want, HookBinary); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

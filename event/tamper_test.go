package event

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whatever somebody does to the files, the next event is found, and so is that something was done.
func TestStoreTamperedWith(t *testing.T) {
	for name, test := range map[string]struct {
		tamper func(dir string) error
		want   string
	}{
		"cut": {func(dir string) error { return os.Truncate(filepath.Join(dir, fileCurrent), 10) }, "cut its file short"},
		"forged": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fileCurrent), []byte(strings.Repeat("forged\n", 200)), 0o600)
		}, "wrote into its file"},
		"removed":        {func(dir string) error { return os.Remove(filepath.Join(dir, fileCurrent)) }, "removed or replaced"},
		"folder removed": {os.RemoveAll, "removed or replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			store := openStore(t, dir, 1<<20)
			appendAll(t, store, notice("a", "before", 0))
			if err := test.tamper(dir); err != nil {
				t.Fatal(err)
			}
			appendAll(t, store, notice("a", "after", time.Second), notice("a", "later", 2*time.Second))
			raw, err := os.ReadFile(filepath.Join(dir, fileCurrent))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{test.want, `"after"`, `"later"`} {
				if strings.Count(string(raw), want) != 1 {
					t.Errorf("not once %q in:\n%s", want, raw)
				}
			}
			if !busy(dir) {
				t.Error("a sweep takes the container for ended")
			}
		})
	}
}

package container

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestReconcileLater checks that the node is reconciled once for all who ask before that begins, and again
// for those who ask later.
func TestReconcileLater(t *testing.T) {
	paths := testPaths(t)
	config := filepath.Join(t.TempDir(), "config.toml")
	text := "version = 1\n[paths]\nrun = \"" + paths.Run + "\"\nbpf = \"" + paths.BPF + "\"\nlog = \"" + paths.Log + "\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stale := paths.Container("stale-1")
	leave := func() {
		t.Helper()
		if err := os.MkdirAll(stale, 0o700); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-2 * young)
		if err := os.Chtimes(stale, old, old); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() func() { return ReconcileLater(t.Context(), config) }
	first, second := ask(), ask()
	leave()
	first()
	if exists(stale) {
		t.Error("the first has not reconciled")
	}
	leave()
	first()
	second()
	if !exists(stale) {
		t.Error("it was done once more for nobody")
	}
	later := ask()
	later()
	if exists(stale) {
		t.Error("it was not done for who came later")
	}

	for text, want := range map[string]time.Duration{
		"12\n": 12, "": 0, "x\n": 0, "-": 0, "99999999999999999999\n": 0,
	} {
		if err := os.WriteFile(paths.Reconciled(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastReconciled(paths); got != want {
			t.Errorf("%q says %v", text, got)
		}
	}
	// A time in the future is from another boot, or forged.
	leave()
	waiting := ask()
	future := []byte(strconv.FormatInt(int64(bootClock()+time.Hour), 10) + "\n")
	if err := os.WriteFile(paths.Reconciled(), future, 0o600); err != nil {
		t.Fatal(err)
	}
	waiting()
	if exists(stale) {
		t.Error("a reconciliation that is still to come was taken for one that was")
	}
}

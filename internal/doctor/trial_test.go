package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
)

// The trial must return a tier on every kernel that has one, and must leave nothing behind.
func TestTrial(t *testing.T) {
	testenv.BPF(t)
	t.Setenv("TMPDIR", t.TempDir())
	tier, err := trial()
	if err != nil || tier == 0 {
		t.Fatalf("got tier %s, %v", tier, err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	// Only mounts under this test's TMPDIR count: other tests may mount things at the same time.
	if mounts, err := os.ReadFile("/proc/thread-self/mountinfo"); err != nil || strings.Contains(string(mounts), os.TempDir()) {
		t.Errorf("%v, mounted under %s:\n%s", err, os.TempDir(), mounts)
	}
}

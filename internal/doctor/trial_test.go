package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
)

// The trial must come out with a tier on every kernel that has one, and leave nothing.
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
	// What other tests mount meanwhile is not its doing.
	if mounts, err := os.ReadFile("/proc/thread-self/mountinfo"); err != nil || strings.Contains(string(mounts), os.TempDir()) {
		t.Errorf("%v, mounted under %s:\n%s", err, os.TempDir(), mounts)
	}
}

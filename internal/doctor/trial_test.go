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
	before := mounts(t)
	tier, err := trial()
	if err != nil || tier == 0 {
		t.Fatalf("got tier %s, %v", tier, err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if after := mounts(t); after != before {
		t.Errorf("%d mounts before, %d after", before, after)
	}
}

func mounts(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(content), "bpf")
}

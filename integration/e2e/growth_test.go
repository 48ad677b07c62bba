package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/integration/internal/node"
)

const cycles = 20

// A pod that is made and deleted again and again leaves nothing of itself, and
// what the node has once does not grow.
func tellNoGrowth(t *testing.T, s *stage) {
	t.Helper()
	cycle := func(round int) {
		name := fmt.Sprintf("cycle-%d", round)
		s.run(t, sharedPID(pod(name, enforce(), idle("one"), idle("two"))))
		s.remove(t, name)
	}
	cycle(0) // loads the programs, and fills containerd's caches
	s.wantSettled(t)
	before := s.measure(t)
	for round := range cycles {
		cycle(round + 1)
	}
	s.wantSettled(t)
	for name, count := range s.measure(t) {
		t.Logf("%s: %d, then %d", name, before[name], count)
		// A connection or a timer may be open just now; something of each pod would be 20.
		if count-before[name] > cycles/4 {
			t.Errorf("%s grew by %d in %d cycles", name, count-before[name], cycles)
		}
	}
}

// measure counts what could grow.
func (s *stage) measure(t *testing.T) map[string]int {
	t.Helper()
	files, err := node.OpenFiles(s.Node.PID())
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, count := range files {
		open += count
	}
	return map[string]int{
		"containerd's descriptors": open,
		"pins in bpffs":            count(t, s.Node.Paths.BPF),
		"files in shimward's run":  count(t, s.Node.Paths.Run),
		"addresses of pods":        count(t, s.Leases()),
		"cgroups":                  count(t, "/sys/fs/cgroup/unified/k8s.io") + count(t, "/sys/fs/cgroup/k8s.io"),
		"network interfaces":       count(t, "/sys/class/net"),
		"containerd's state":       count(t, filepath.Join(s.Node.Dir, "state")),
	}
}

// count counts the files in a folder and below it. One that is not there has none.
func count(t *testing.T, dir string) int {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(string, os.DirEntry, error) error { found++; return nil })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

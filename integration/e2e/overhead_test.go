package e2e

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tellOverhead checks that the runtime class declares at least the memory of a pod's shim: its
// proportional set size while the pod runs. It also measures stock runc's shim for comparison.
func tellOverhead(t *testing.T, s *stage) {
	t.Helper()
	shim := func(name string, annotations map[string]string) int64 {
		p := s.run(t, pod(name, annotations, idle("main")))
		shims, err := s.Node.Shims()
		if err != nil {
			t.Fatal(err)
		}
		return proportional(t, shims[s.sandbox(t, p)])
	}
	stock, ours := shim("stock-overhead", nil), shim("overhead", enforceStrict())
	class, err := s.Client.NodeV1().RuntimeClasses().Get(testContext(t), shimward, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	said := class.Overhead.PodFixed.Memory().Value()
	t.Logf("runc's shim %d KiB, shimward's %d KiB, overhead.podFixed %d KiB", stock>>10, ours>>10, said>>10)
	if ours > said {
		t.Errorf("a pod's shim takes %d KiB, the runtime class says %d KiB", ours>>10, said>>10)
	}
}

// proportional returns a process's proportional set size in bytes: shared memory is divided among
// the processes that share it.
func proportional(t *testing.T, pid int) int64 {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d has no proportional memory", pid)
	return 0
}

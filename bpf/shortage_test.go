package bpf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// If the kernel has no memory left for guards, a fork whose child would lack one fails. A map's
// memory is charged to the cgroup of the process that created the map: here, the one that loads the
// programs.
func TestLSMShortage(t *testing.T) {
	testenv.LSM(t)
	forks := filepath.Join(t.TempDir(), "forks")
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-o", forks, "testdata/forks.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write := func(text string, path ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path...), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	root, self := testenv.Cgroup2(t), strconv.Itoa(os.Getpid())
	write("+memory", root, "cgroup.subtree_control")
	small, err := os.MkdirTemp(root, "shimward-test-small-") //nolint:usetesting // a cgroup is no temporary folder
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeCgroup(small); err != nil {
			t.Error(err)
		}
		write("-memory", root, "cgroup.subtree_control")
	})
	write(self, small, "cgroup.procs")
	node := newNode(t)
	write(self, root, "cgroup.procs")

	c := newContainer(t, node, plan("short", policy.ModeEnforce, allRefused()))
	p := c.run("exec", forks, "500")
	write("0", small, "memory.max")
	if said, _ := p.hear(); !strings.HasPrefix(said, "failed: ") && said != "done" {
		t.Errorf("it said %q", said)
	}
	id, err := cgroupID(c.cgroup)
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(c.cgroup, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(list))
	if len(pids) < 2 {
		t.Errorf("there are no children: %v", pids)
	}
	for _, pid := range pids {
		number, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		if guard, err := node.GuardOf(number); err != nil || guard.Cgroup != id {
			t.Errorf("%d of %d: its guard is %+v, %v", number, len(pids), guard, err)
		}
	}
}

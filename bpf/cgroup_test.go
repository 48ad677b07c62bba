package bpf

import (
	"os"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

func TestCgroupPath(t *testing.T) {
	root := testenv.Cgroup2(t)
	path, err := CgroupPath(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "/cgroup.procs"); err != nil || path[:len(root)] != root {
		t.Errorf("%q: %v", path, err)
	}
	if _, err := CgroupPath(1 << 30); err == nil {
		t.Error("found the cgroup of no process")
	}
}

func TestCgroupPathOfAnother(t *testing.T) {
	node := sharedNode(t)
	c := newContainer(t, node, plan("path", policy.ModeAudit, allObserved()))
	pid := c.enter("sleep").cmd.Process.Pid
	if path, err := CgroupPath(pid); err != nil || path != c.cgroup {
		t.Errorf("got %q, %v; want %q", path, err, c.cgroup)
	}
	for path, want := range map[string]bool{c.cgroup: true, testenv.Cgroup2(t): false, "/proc": false, c.cgroup + "/none": false} {
		if got := inCgroup2(path, pid); got != want {
			t.Errorf("in %s: %v", path, got)
		}
	}
}

func TestUnifiedCgroup(t *testing.T) {
	for _, test := range []struct {
		file, path string
		ok         bool
	}{
		{"0::/system.slice/a b.service\n", "/system.slice/a b.service", true},
		{"12:pids:/x\n1:name=systemd:/y\n0::/z\n", "/z", true},
		{"12:pids:/x\n", "", false},
		{"0::/../../elsewhere\n", "/../../elsewhere", false},
		{"", "", false},
	} {
		if path, ok := unifiedCgroup(test.file); path != test.path || ok != test.ok {
			t.Errorf("%q: %q, %v", test.file, path, ok)
		}
	}
}

func TestCgroupIn(t *testing.T) {
	for _, test := range []struct {
		mount, cgroup, path string
		ok                  bool
	}{
		{"30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw", "/a/b", "/sys/fs/cgroup/a/b", true},
		{"30 24 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw", "/", "/sys/fs/cgroup/unified", true},
		{"30 24 0:26 /a /mnt rw - cgroup2 cgroup2 rw", "/a/b", "/mnt/b", true},
		{"30 24 0:26 /a /mnt rw - cgroup2 cgroup2 rw", "/ab", "", false},
		{`30 24 0:26 / /with\040blank rw - cgroup2 cgroup2 rw`, "/a", "/with blank/a", true},
		{"30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "/a", "", false},
		{"", "/a", "", false},
	} {
		if path, ok := cgroupIn(test.mount, test.cgroup); path != test.path || ok != test.ok {
			t.Errorf("%q: %q, %v", test.mount, path, ok)
		}
	}
}

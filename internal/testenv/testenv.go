// Package testenv says what a test needs of the machine. Tests skip through it
// and through nothing else: it names the missing thing, and where CI is set a
// skip of a required thing is a failure.
package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Root skips the test unless it runs as root with all the capabilities that loading programs takes.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root")
	}
}

// BPF skips the test unless eBPF programs can be pinned, and returns an empty
// BPF file system of the test's own.
func BPF(t testing.TB) string {
	t.Helper()
	Root(t)
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		Missing(t, "a kernel with BTF (CONFIG_DEBUG_INFO_BTF)")
	}
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		Missing(t, "a BPF file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// LSM skips the test unless bpf is among the kernel's active security modules.
// It is no failure in CI: CI runs such tests in a virtual machine whose kernel has it.
func LSM(t testing.TB) {
	t.Helper()
	if !activeLSM("bpf") {
		t.Skip("needs BPF LSM (bpf in the kernel's lsm=): scripts/vm runs a kernel that has it")
	}
}

func activeLSM(name string) bool {
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return false
	}
	for active := range strings.SplitSeq(strings.TrimSpace(string(list)), ",") {
		if active == name {
			return true
		}
	}
	return false
}

// Cgroup2 skips the test unless cgroup v2 is mounted, and returns where.
func Cgroup2(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	Missing(t, "cgroup v2")
	return ""
}

// Program skips the test unless the named program is installed, and returns its path.
func Program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	Missing(t, "the program "+name)
	return ""
}

// Missing skips the test for want of what is named; where CI is set it fails it.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("needs %s, which CI must have", what)
	}
	t.Skipf("needs %s", what)
}

// Package testenv says what a test needs of the machine. Tests skip through it
// and through nothing else: it names the missing thing, and where CI is set a
// skip of a required thing is a failure.
package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Root skips the test unless it runs as root with all the capabilities that loading programs takes.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Missing(tb, "root")
	}
}

// BPF skips the test unless eBPF programs can be pinned, and returns an empty
// BPF file system of the test's own.
func BPF(tb testing.TB) string {
	tb.Helper()
	Root(tb)
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		Missing(tb, "a kernel with BTF (CONFIG_DEBUG_INFO_BTF)")
	}
	dir := tb.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		Missing(tb, "a BPF file system: "+err.Error())
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// LSM skips the test unless the kernel takes BPF LSM programs.
// It is no failure in CI: CI runs such tests in a virtual machine whose kernel does.
func LSM(tb testing.TB) {
	tb.Helper()
	if !TakesLSM() {
		Elsewhere(tb, "needs BPF LSM (bpf in the kernel's lsm=; on arm64, Linux 6.4 too): scripts/vm runs a kernel that has it")
	}
}

// TakesLSM tells whether bpf is among the kernel's active security modules, and can be:
// arm64 attaches programs to the kernel's functions, as LSM hooks are, from Linux 6.4
// on (HAVE_DYNAMIC_FTRACE_WITH_DIRECT_CALLS in arch/arm64/Kconfig).
func TakesLSM() bool {
	return activeLSM("bpf") && (runtime.GOARCH != "arm64" || !olderThan(6, 4))
}

func olderThan(major, minor int) bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	var has [2]int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &has[0], &has[1]); err != nil {
		return false
	}
	return slices.Compare(has[:], []int{major, minor}) < 0
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
func Cgroup2(tb testing.TB) string {
	tb.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	Missing(tb, "cgroup v2")
	return ""
}

// Program skips the test unless the named program is installed, and returns its path.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	Missing(tb, "the program "+name)
	return ""
}

// Elsewhere skips a test that is not for this kind of machine, and says for
// which it is. It is no failure in CI, which has only so many kinds.
func Elsewhere(tb testing.TB, why string) {
	tb.Helper()
	tb.Skip(why)
}

// Missing skips the test for want of what is named; where CI is set it fails it.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf("needs %s, which CI must have", what)
	}
	tb.Skipf("needs %s", what)
}

// Package testenv checks for what a test needs of the machine. Tests skip only through this
// package: the message names the missing thing, and if CI is set, skipping because of a missing
// requirement is a failure.
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

// Root skips the test unless it runs as root, with all capabilities that are needed to load
// programs.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Missing(tb, "root")
	}
}

// BPF skips the test unless eBPF programs can be pinned. It returns an empty BPF file system that
// only this test uses.
func BPF(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	unmount := MountBPF(tb, dir)
	tb.Cleanup(func() {
		if err := unmount(); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// MountBPF skips the test unless eBPF programs can be pinned. It mounts an empty BPF file system on
// dir, and returns the function that unmounts it.
func MountBPF(tb testing.TB, dir string) (unmount func() error) {
	tb.Helper()
	Root(tb)
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		Missing(tb, "a kernel with BTF (CONFIG_DEBUG_INFO_BTF)")
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		Missing(tb, "a BPF file system: "+err.Error())
	}
	return func() error {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		return nil
	}
}

// ShortDir returns an empty directory for sockets, removed at the end of the test. A socket's path is
// short, and that of tb.TempDir has the name of the test in it.
func ShortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "t") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// LSM skips the test unless the kernel supports BPF LSM programs. That is not a failure in CI,
// which runs such tests in a virtual machine whose kernel supports them.
func LSM(tb testing.TB) {
	tb.Helper()
	if !TakesLSM() {
		Elsewhere(tb, "needs BPF LSM (bpf in the kernel's lsm=; on arm64, Linux 6.4 too): scripts/vm runs a kernel that has it")
	}
}

// TakesLSM reports whether BPF LSM programs can be attached and bpf is among the kernel's active
// security modules. arm64 supports attaching programs to kernel functions, and so to LSM hooks,
// since Linux 6.4 (HAVE_DYNAMIC_FTRACE_WITH_DIRECT_CALLS in arch/arm64/Kconfig).
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

// Cgroup2 skips the test unless cgroup v2 is mounted, and returns the mount point.
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

// Elsewhere skips a test that is not for this kind of machine, and says which kind it is for. That
// is not a failure in CI, which has only some kinds of machines.
func Elsewhere(tb testing.TB, why string) {
	tb.Helper()
	tb.Skip(why)
}

// Missing skips the test because the named thing is missing, or fails it if CI is set.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf("needs %s, which CI must have", what)
	}
	tb.Skipf("needs %s", what)
}

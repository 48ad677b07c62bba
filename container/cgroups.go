package container

import (
	"bufio"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// removeCgroups removes what is left of a container's cgroups, by the spec's
// linux.cgroupsPath, in every hierarchy of mountinfo, the text of
// /proc/self/mountinfo. A runtime that is killed in the middle of its `create`,
// as it is when its shim is killed, leaves them, and its `delete` does not know
// of them. A cgroup with processes or cgroups in it stays: the kernel refuses.
// Paths of systemd's are left to systemd, which removes empty scopes itself.
// It returns how many are left.
func removeCgroups(mountinfo io.Reader, cgroupsPath string) int {
	if !filepath.IsAbs(cgroupsPath) || filepath.Clean(cgroupsPath) == "/" || strings.Contains(cgroupsPath, ":") {
		return 0
	}
	left := 0
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		root, ok := cgroupMount(lines.Text())
		if !ok {
			continue
		}
		// rmdir(2): it can be nothing but an empty cgroup.
		err := unix.Rmdir(filepath.Join(root, filepath.Clean(cgroupsPath)))
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
			left++
		}
	}
	return left
}

// cgroupMount is where a line of mountinfo (proc_pid_mountinfo(5)) says that the root of a cgroup hierarchy is.
func cgroupMount(line string) (string, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	if !ok || len(fields) < 5 || fields[3] != "/" {
		return "", false
	}
	kind, _, _ := strings.Cut(after, " ")
	return fields[4], kind == "cgroup" || kind == "cgroup2"
}

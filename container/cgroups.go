package container

import (
	"bufio"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// removeCgroups removes what is left of a container's cgroups, found by the spec's
// linux.cgroupsPath, in every hierarchy of mountinfo, the text of /proc/self/mountinfo. It returns
// how many it could not remove because there are processes or cgroups in them. A runtime that is
// killed in the middle of its `create`, as happens when its shim is killed, leaves cgroups behind,
// and its `delete` does not know of them. Systemd's paths are left to systemd, which removes empty
// scopes itself.
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
		// rmdir(2) can remove nothing but an empty cgroup here.
		err := unix.Rmdir(filepath.Join(root, filepath.Clean(cgroupsPath)))
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
			left++
		}
	}
	return left
}

// cgroupMount returns the mount point of the root of a cgroup hierarchy from a line of mountinfo
// (proc_pid_mountinfo(5)), or false if the line is for anything else.
func cgroupMount(line string) (string, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	if !ok || len(fields) < 5 || fields[3] != "/" {
		return "", false
	}
	kind, _, _ := strings.Cut(after, " ")
	return fields[4], kind == "cgroup" || kind == "cgroup2"
}

package bpf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2 means that a process is in no cgroup v2 that is visible from here.
var ErrNoCgroup2 = errors.New("no cgroup v2: mount it (unified, or hybrid beside v1), so that containers have one")

// CgroupPath returns the absolute path of a process's cgroup v2 directory, on unified and hybrid
// nodes alike. The error wraps ErrNoCgroup2 if there is none.
func CgroupPath(pid int) (string, error) {
	own, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	within, ok := unifiedCgroup(string(own))
	if !ok {
		return "", fmt.Errorf("find the cgroup of process %d: %w", pid, ErrNoCgroup2)
	}
	for _, mount := range usualMounts {
		if path := filepath.Join(mount, within); within != "/" && inCgroup2(path, pid) {
			return path, nil
		}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	defer shut(mounts)
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		if path, ok := cgroupIn(lines.Text(), within); ok {
			return path, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	return "", fmt.Errorf("find the cgroup %s of process %d: %w", within, pid, ErrNoCgroup2)
}

// usualMounts are the paths where systemd mounts cgroup v2, on a unified and on a hybrid node. They
// are tried first because mountinfo has a line for each of a node's containers.
var usualMounts = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// CheckCgroup2 returns nil if this node has a cgroup v2 mount. The error wraps ErrNoCgroup2 if it
// has none.
func CheckCgroup2() error {
	mount, err := openCgroupRoot()
	if err == nil {
		shut(mount)
	}
	return err
}

func isCgroup2(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// inCgroup2 reports whether path is a cgroup v2 directory that the process is in.
func inCgroup2(path string, pid int) bool {
	if !isCgroup2(path) {
		return false
	}
	procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs")) //nolint:gosec // a cgroup's, as the kernel named it
	return err == nil && slices.Contains(strings.Fields(string(procs)), strconv.Itoa(pid))
}

// unifiedCgroup returns the path in the line "0::/path" of a /proc/<pid>/cgroup.
func unifiedCgroup(file string) (string, bool) {
	for line := range strings.Lines(file) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			// A path outside this process's cgroup namespace begins with "/..".
			return path, strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/..")
		}
	}
	return "", false
}

// cgroupIn returns the path of a cgroup below the mount in a line of mountinfo (proc(5)), if that
// is a cgroup v2 mount that shows the cgroup.
func cgroupIn(mount, cgroup string) (string, bool) {
	before, after, ok := strings.Cut(mount, " - ")
	fields := strings.Fields(before)
	if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
		return "", false
	}
	root, point := unescape(fields[3]), unescape(fields[4])
	below, err := filepath.Rel(root, cgroup)
	if err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return "", false
	}
	return filepath.Join(point, below), true
}

// unescape decodes mountinfo's octal escapes of blanks and backslashes.
func unescape(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}

// cgroupID returns the kernel's 64-bit id of a cgroup v2 directory, which is its inode number.
func cgroupID(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, fmt.Errorf("look at the cgroup: %w", err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, fmt.Errorf("%s: %w", path, ErrNoCgroup2)
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, fmt.Errorf("look at the cgroup: %w", err)
	}
	// Only the root of the hierarchy lacks cgroup.type (Documentation/admin-guide/cgroup-v2.rst).
	if _, err := os.Stat(filepath.Join(path, "cgroup.type")); err != nil {
		return 0, fmt.Errorf("%s is the root of the hierarchy, and all that runs on the node is in it: "+
			"give the container a cgroup of its own", path)
	}
	return stat.Ino, nil
}

// fileidKernfs is the type of a cgroup's file handle (enum fid_type), which contains the cgroup's
// id.
const fileidKernfs = 0xfe

// populated reports whether the cgroup with that id exists and has processes, in it or below. If
// that cannot be determined it reports true: on false, callers end the guard.
func populated(id uint64) bool {
	if id == 0 {
		return false
	}
	mount, err := openCgroupRoot()
	if err != nil {
		return true
	}
	defer shut(mount)
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	dir, err := unix.OpenByHandleAt(int(mount.Fd()), handle, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return !gone(err)
	}
	defer func() { _ = unix.Close(dir) }()
	fd, err := unix.Openat(dir, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return !gone(err)
	}
	file := os.NewFile(uintptr(fd), "cgroup.events")
	defer shut(file)
	raw, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return !gone(err)
	}
	return strings.Contains("\n"+string(raw), "\npopulated 1\n")
}

// gone reports whether err means that the cgroup was removed, which its processes cannot outlive.
func gone(err error) bool {
	return errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

// openCgroupRoot opens a cgroup v2 mount, whichever part of the hierarchy it shows. The error wraps
// ErrNoCgroup2 if there is none.
func openCgroupRoot() (*os.File, error) {
	if at := slices.IndexFunc(usualMounts[:], isCgroup2); at >= 0 {
		return os.Open(usualMounts[at])
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer shut(mounts)
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return os.Open(unescape(fields[4]))
		}
	}
	return nil, errors.Join(ErrNoCgroup2, lines.Err())
}

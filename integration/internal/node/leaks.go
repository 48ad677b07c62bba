package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Leaks lists what is left of the node's containers: processes and shims, state, pins, cgroups and
// mounts. Call it once every container is deleted. What exists once per node does not count as a
// leak.
func (n *Node) Leaks() ([]string, error) {
	var leaks []string
	pids, err := n.processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		leaks = append(leaks, fmt.Sprintf("process %d: %s", pid, cmdline(pid)))
	}
	monitors, err := n.Monitors()
	if err != nil {
		return nil, err
	}
	for _, pid := range monitors {
		leaks = append(leaks, fmt.Sprintf("monitor %d", pid))
	}
	for _, dir := range []string{
		filepath.Join(n.Paths.Run, "containers"),
		filepath.Join(n.Paths.BPF, "containers"),
		filepath.Join(n.Dir, "state", "io.containerd.runtime.v2.task", n.Namespace),
		filepath.Join(n.Dir, "state", "io.containerd.runtime.v2.task", kubernetes),
		filepath.Join("/run/containerd/runc", n.Namespace),
	} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for leaks: %w", err)
		}
		for _, entry := range entries {
			leaks = append(leaks, filepath.Join(dir, entry.Name()))
		}
	}
	for _, parent := range n.cgroups() {
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue // removed in the meantime
		}
		for _, entry := range entries {
			if entry.IsDir() {
				leaks = append(leaks, "cgroup "+filepath.Join(parent, entry.Name()))
			}
		}
	}
	mounts, err := n.mounts()
	if err != nil {
		return nil, err
	}
	for _, mount := range mounts {
		if mount != n.bpffs() {
			leaks = append(leaks, "mount "+mount)
		}
	}
	return leaks, nil
}

// sweep removes what is left of the node after containerd has ended. It kills only processes that
// have the node's socket in their command line or its namespace in their cgroup, and its monitors.
func (n *Node) sweep() error {
	pids, err := n.processes()
	monitors, monitorErr := n.Monitors()
	pids = append(pids, monitors...)
	errs := []error{err, monitorErr}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %d: %w", pid, err))
		}
	}
	mounts, err := n.mounts()
	errs = append(errs, err)
	for i := len(mounts) - 1; i >= 0; i-- { // innermost first: it was mounted last
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mounts[i], err))
		}
	}
	for _, dir := range n.cgroups() {
		_ = unix.Rmdir(dir) // runc creates it for the namespace and leaves it behind
	}
	_ = os.Remove(filepath.Join("/run/containerd/runc", n.Namespace))
	errs = append(errs, os.RemoveAll(n.Dir))
	return errors.Join(errs...)
}

// processes returns the pids of the node's shims and of its containers' processes.
func (n *Node) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || (n.process != nil && pid == n.process.Process.Pid) {
			continue
		}
		cgroup, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		if strings.Contains(string(cgroup), "/"+n.Namespace+"/") || strings.Contains(cmdline(pid)+" ", "-address "+n.Socket()+" ") {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func cmdline(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimRight(string(raw), "\x00"), "\x00", " ")
}

// cgroups returns the directories of the node's namespace in every cgroup hierarchy.
func (n *Node) cgroups() []string {
	flat, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", n.Namespace))
	split, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", "*", n.Namespace))
	return append(flat, split...)
}

// mounts returns the mount points below the node's directory, in mount order.
func (n *Node) mounts() ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	for _, line := range strings.Split(string(raw), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], n.Dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts, nil
}

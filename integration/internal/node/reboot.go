package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reboot removes what a power cut would: every process, everything in /run and on bpffs, mounts and
// cgroups. It then starts containerd on what is left. The kernel itself keeps running, so kernel
// state that belongs to others is not considered.
func (n *Node) Reboot(ctx context.Context) error {
	if err := n.KillContainerd(); err != nil {
		return err
	}
	if err := n.killAll(ctx); err != nil {
		return err
	}
	mounts, err := n.mounts()
	if err != nil {
		return err
	}
	for _, mount := range slices.Backward(mounts) {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", mount, err)
		}
	}
	for _, id := range n.containerIDs() {
		for _, pattern := range []string{"/run/containerd/runc/*/" + id, "/sys/fs/cgroup/*/" + id, "/sys/fs/cgroup/*/*/" + id} {
			found, _ := filepath.Glob(pattern)
			for _, path := range found {
				if err := removeTree(path); err != nil {
					return err
				}
			}
		}
	}
	// These are what a node of its own would have in /run.
	for _, path := range []string{n.Paths.Run, filepath.Join(n.Dir, "state"), filepath.Join(n.Dir, "s")} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("empty /run: %w", err)
		}
	}
	if err := n.mountBPF(); err != nil {
		return err
	}
	return n.Restart(ctx)
}

// removeTree removes a directory in /run or a cgroup tree. The files in a cgroup cannot be removed,
// so there it removes only the directories.
func removeTree(path string) error {
	if !strings.HasPrefix(path, "/sys/") {
		return os.RemoveAll(path)
	}
	inner, _ := filepath.Glob(path + "/*/")
	for _, dir := range inner {
		if err := removeTree(filepath.Clean(dir)); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", path, err)
	}
	return nil
}

// containerIDs returns the IDs of the containers that have a bundle.
func (n *Node) containerIDs() []string {
	bundles, _ := filepath.Glob(filepath.Join(n.Dir, "state", "io.containerd.runtime.v2.task", "*", "*"))
	for i, bundle := range bundles {
		bundles[i] = filepath.Base(bundle)
	}
	return bundles
}

// killAll kills every shim, every container process and all their descendants until none is left.
func (n *Node) killAll(ctx context.Context) error {
	doomed := map[int]bool{}
	for {
		shims, err := n.processes()
		if err != nil {
			return err
		}
		for _, pid := range shims {
			doomed[pid] = true
		}
		if err := addDescendants(doomed); err != nil {
			return err
		}
		alive := 0
		for pid := range doomed {
			if unix.Kill(pid, unix.SIGKILL) == nil && !zombie(pid) {
				alive++
			}
		}
		if alive == 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("kill the node's processes: %d are left: %w", alive, ctx.Err())
		}
	}
}

func addDescendants(of map[int]bool) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for grown := true; grown; {
		grown = false
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil || of[pid] {
				continue
			}
			if _, parent := stat(pid); of[parent] {
				of[pid], grown = true, true
			}
		}
	}
	return nil
}

func zombie(pid int) bool {
	state, _ := stat(pid)
	return state == "" || state == "Z"
}

// stat returns the state and parent of a process: fields 3 and 4 of proc_pid_stat(5).
func stat(pid int) (state string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

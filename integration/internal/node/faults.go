package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"
)

// KillContainerd kills containerd as the kernel's OOM killer would. Use Restart to start it again.
func (n *Node) KillContainerd() error {
	if err := n.process.Process.Kill(); err != nil {
		return fmt.Errorf("kill containerd: %w", err)
	}
	<-n.exited
	return nil
}

// Restart starts containerd on the state that a killed one left.
func (n *Node) Restart(ctx context.Context) error {
	n.exited = make(chan struct{})
	return n.startContainerd(ctx)
}

// Replace starts another containerd release on the state that a killed one left.
func (n *Node) Replace(ctx context.Context, engines string, configVersion int) error {
	n.options.Engines, n.options.ConfigVersion = engines, configVersion
	if err := n.writeContainerdConfig(); err != nil {
		return err
	}
	return n.Restart(ctx)
}

// Adopt reattaches to a running container after containerd was restarted. The container's output is
// lost, as for any other client that was attached.
func (n *Node) Adopt(ctx context.Context, c *Container) error {
	ctx = n.in(ctx)
	container, err := n.Client.LoadContainer(ctx, c.ID)
	if err != nil {
		return fmt.Errorf("find container %s again: %w", c.ID, err)
	}
	task, err := container.Task(ctx, cio.Load)
	if err != nil {
		return fmt.Errorf("find the task of container %s again: %w", c.ID, err)
	}
	c.container, c.task = container, task
	c.exit, err = task.Wait(context.WithoutCancel(ctx))
	return err
}

// Status returns the status that containerd reports for the container's task.
func (c *Container) Status(ctx context.Context) (containerd.Status, error) {
	return c.task.Status(c.node.in(ctx))
}

// Gone waits until the container's init no longer exists, whichever process reaps it.
func (c *Container) Gone(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err := unix.Kill(c.PID, 0); errors.Is(err, unix.ESRCH) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of container %s: %w", c.ID, ctx.Err())
		}
	}
}

// Shims returns the pids of this node's shims, by the ID of the container for which each was
// started (for a pod, its first container).
func (n *Node) Shims() (map[string]int, error) {
	pids, err := n.processes()
	if err != nil {
		return nil, err
	}
	shims := map[string]int{}
	for _, pid := range pids {
		words := strings.Fields(cmdline(pid))
		for i, word := range words {
			if word == "-id" && i+1 < len(words) && strings.Contains(words[0], "containerd-shim-") {
				shims[words[i+1]] = pid
			}
		}
	}
	return shims, nil
}

// Monitors returns the pids of the processes that host this node's containers where shimward is the
// OCI runtime. It recognizes them by the event store that each has open.
func (n *Node) Monitors() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !strings.HasSuffix(cmdline(pid), "/shimward monitor") {
			continue
		}
		files, err := OpenFiles(pid)
		if err != nil {
			continue // it ended in the meantime
		}
		for path := range files {
			if strings.HasPrefix(path, n.Dir+"/") {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, nil
}

// KillShim kills the shim of a container, as the kernel's OOM killer would.
func (n *Node) KillShim(id string) error {
	shims, err := n.Shims()
	if err != nil {
		return err
	}
	pid, ok := shims[id]
	if !ok {
		return fmt.Errorf("container %s has no shim among %v", id, shims)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill shim %d: %w", pid, err)
	}
	return nil
}

// Settled waits until the node has no leaks. If ctx is done first, the error lists what is left.
func (n *Node) Settled(ctx context.Context) error {
	for {
		leaks, err := n.Leaks()
		if err != nil || len(leaks) == 0 {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("left behind: %s", strings.Join(leaks, "; "))
		}
	}
}

// OpenFiles counts a process's file descriptors by what they refer to: a path, or the type that
// proc_pid_fd(5) names.
func OpenFiles(pid int) (map[string]int, error) {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(folder, entry.Name()))
		if err != nil {
			continue // closed in the meantime
		}
		if kind, inode, ok := strings.Cut(target, ":["); ok && strings.Trim(inode, "0123456789]") == "" {
			target = kind // socket:[12345] becomes socket; anon_inode:[pidfd] stays
		}
		found[target]++
	}
	return found, nil
}

// PID returns the pid of containerd.
func (n *Node) PID() int { return n.process.Process.Pid }

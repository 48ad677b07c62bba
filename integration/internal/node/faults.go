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

// KillContainerd ends containerd as the kernel's OOM killer would. Restart starts it anew.
func (n *Node) KillContainerd() error {
	if err := n.process.Process.Kill(); err != nil {
		return fmt.Errorf("kill containerd: %w", err)
	}
	<-n.exited
	return nil
}

// Restart starts containerd on what a killed one left.
func (n *Node) Restart(ctx context.Context) error {
	n.exited = make(chan struct{})
	return n.startContainerd(ctx)
}

// Replace starts another release of containerd on what a killed one left.
func (n *Node) Replace(ctx context.Context, engines string, configVersion int) error {
	n.options.Engines, n.options.ConfigVersion = engines, configVersion
	if err := n.writeContainerdConfig(); err != nil {
		return err
	}
	return n.Restart(ctx)
}

// Adopt takes up a running container again after containerd was restarted. Its
// output is lost, as it is for everybody who was attached.
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

// Status is what containerd says of the container's task.
func (c *Container) Status(ctx context.Context) (containerd.Status, error) {
	return c.task.Status(c.node.in(ctx))
}

// Gone waits until the container's init is gone, whoever reaps it.
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

// Shims are the processes of this node's shims, by the ID of the container, or
// of the pod's first one, that each was started for.
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

// Monitors are the processes that host this node's containers where shimward is the
// OCI runtime, known by the store of events that each has open.
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
			continue // it ended
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

// Settled waits until the node has no leaks; what is left when ctx is done is its error.
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

// OpenFiles counts a process's descriptors, by what each is: a path, or the kind that proc_pid_fd(5) names.
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
			continue // closed meanwhile
		}
		if kind, inode, ok := strings.Cut(target, ":["); ok && strings.Trim(inode, "0123456789]") == "" {
			target = kind // socket:[12345], but anon_inode:[pidfd]
		}
		found[target]++
	}
	return found, nil
}

// PID is containerd's.
func (n *Node) PID() int { return n.process.Process.Pid }

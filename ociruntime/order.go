package ociruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/policy"
)

// MonitorCommand is the shimward command that runs a monitor. It reads its order from standard
// input, and answers on standard output.
const MonitorCommand = "monitor"

// order is the input that a monitor is started with: one line of JSON.
type order struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Bundle    string `json:"bundle"` // with symbolic links resolved
	Restored  bool   `json:"restored,omitempty"`
	Config    string `json:"config,omitempty"` // the config file that was named
	Runc      string `json:"runc"`             // the real runtime
	Root      string `json:"root"`             // its state folder
	Parent    int    `json:"parent"`           // the process that will exec the runtime
}

// request returns the container request for an order. attached is called with each process that the
// runtime starts in the container.
func (o *order) request(attached func(pid int)) container.Request {
	return container.Request{
		ID: o.ID, Namespace: o.Namespace, Bundle: o.Bundle, Restored: o.Restored,
		ConfigFile: o.Config, Monitored: true,
		Hook: findHook, CheckNode: checkNode, Attached: attached,
	}
}

func findHook() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find shimward's own binary: %w", err)
	}
	return container.FindHook(self)
}

// checkNode returns an error on a node where no container can be guarded.
func checkNode(paths policy.Paths) error {
	// user_namespaces(7): check for the map of the initial user namespace.
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("look at the user namespace: %w", err)
	}
	var inside, outside, count uint32
	if _, err := fmt.Sscan(string(raw), &inside, &outside, &count); err != nil {
		return fmt.Errorf("look at the user namespace: %w", err)
	}
	if os.Geteuid() != 0 || inside != 0 || outside != 0 || count != 1<<32-1 {
		return errors.New("a rootless engine's containers cannot be guarded, because only root can load programs into the kernel: " +
			"run the engine as root, or choose another runtime")
	}
	return container.CheckNode(paths)
}

// answer is the monitor's reply once it has made what the container needs, or has failed to.
type answer struct {
	Error string `json:"error,omitempty"`
}

const maxOrder = 64 << 10

// startMonitor starts a container's monitor, and returns once everything is ready for the runtime
// to create the container.
func startMonitor(ctx context.Context, o order) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find shimward's own binary: %w", err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write the monitor's order: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, MonitorCommand) //nolint:gosec // this binary
	// It outlives this process, and this process's session.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the container's monitor: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the container's monitor: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the container's monitor: %w", err)
	}
	if _, err := in.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("tell the container's monitor what to do: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(out, maxOrder)).ReadBytes('\n')
	var said answer
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		return fmt.Errorf("the container's monitor ended before it was ready (%w): the container is not created, because nothing would answer its system calls", err)
	}
	if said.Error != "" {
		return errors.Join(errors.New(said.Error), reap(cmd))
	}
	return nil
}

// reap waits for a monitor that has reported that it ends.
func reap(cmd *exec.Cmd) error {
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

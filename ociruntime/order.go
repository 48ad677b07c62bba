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

// MonitorCommand is the command of shimward's that a monitor is. It is given its
// order on standard input, and answers on standard output.
const MonitorCommand = "monitor"

// order is what a monitor is started with: one line of JSON.
type order struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Bundle    string `json:"bundle"` // links resolved
	Restored  bool   `json:"restored,omitempty"`
	Config    string `json:"config,omitempty"` // the config file that was named
	Runc      string `json:"runc"`             // the real runtime
	Root      string `json:"root"`             // of its state
	Parent    int    `json:"parent"`           // the process that becomes the runtime
}

// request is the container that an order is about. attached is told what the runtime starts in it.
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

// checkNode refuses a node on which no container can be guarded.
func checkNode(paths policy.Paths) error {
	// user_namespaces(7): the map of the one that is no other's.
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("look at the user namespace: %w", err)
	}
	var inside, outside, count uint32
	if _, err := fmt.Sscan(string(raw), &inside, &outside, &count); err != nil {
		return fmt.Errorf("look at the user namespace: %w", err)
	}
	if os.Geteuid() != 0 || inside != 0 || outside != 0 || count != 1<<32-1 {
		return errors.New("a rootless engine's containers cannot be guarded, only root loads programs into the kernel: " +
			"run the engine as root, or choose another runtime")
	}
	return container.CheckNode(paths)
}

// answer is a monitor's, once it has what the container needs, or not.
type answer struct {
	Error string `json:"error,omitempty"`
}

const maxOrder = 64 << 10

// startMonitor starts the monitor of a container, and returns once all is ready
// for the runtime to create it.
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
	// It outlives this process, and whoever this process belongs to.
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
		return fmt.Errorf("the container's monitor ended before it was ready (%w): the container is not created, for nobody would answer its calls", err)
	}
	if said.Error != "" {
		return errors.Join(errors.New(said.Error), reap(cmd))
	}
	return nil
}

// reap waits for a monitor that has said that it ends.
func reap(cmd *exec.Cmd) error {
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

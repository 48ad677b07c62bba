package installer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shimward/shimward/internal/install"
)

// handler is the name of the runtime in containerd's config, and in the runtime class.
const handler = "shimward"

const (
	poll = 2 * time.Second
	// between is how long to wait before trying again when a container prevents an uninstall.
	between = 5 * time.Second
)

// Options says which node this is, and where things are on it.
type Options struct {
	Node             string // its name in the cluster
	Prefix           string
	Containerd       string // the command
	ContainerdConfig string
	Address          string // containerd's socket; this, Containerd and ContainerdConfig are empty to find them on the node
	Config           string // shimward's own config.toml; "" for the default path
	// Restart makes systemd restart containerd if its config was changed. Otherwise the operator
	// has to do that, and the installer waits for it.
	Restart bool

	Getenv         func(string) string
	Stdout, Stderr io.Writer
}

func (o Options) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.Stderr, format+"\n", args...)
}

// command returns a shimward command with the flags that install and uninstall share.
func (o Options) command(name string, more ...string) []string {
	return o.configured(append([]string{name, "--prefix", o.Prefix, "--containerd", o.Containerd, "--containerd-config", o.ContainerdConfig}, more...))
}

func (o Options) configured(args []string) []string {
	if o.Config != "" {
		args = append(args, "--config", o.Config)
	}
	return args
}

// of returns the options with those that are empty set for the containerd that runs this container,
// and therefore kubelet's pods. The node may have another containerd, such as Docker's beside k3s.
func (o Options) of(h *host) (Options, error) {
	o.Address = cmp.Or(o.Address, h.address)
	err := h.do(func() (err error) {
		if o.ContainerdConfig == "" {
			if o.ContainerdConfig, err = install.ConfigAt(o.Address); err != nil {
				return err
			}
		}
		if o.Address == "" {
			o.Address, err = install.Socket(o.Prefix)
		}
		return err
	})
	return o, err
}

// Install installs shimward on the node, waits until kubelet has the runtime, runs `shimward
// verify`, and sets the node's label accordingly. It returns whether shimward held.
func Install(ctx context.Context, o Options) (held bool, err error) {
	a, err := inCluster(o.Getenv)
	if err != nil {
		return false, err
	}
	h, err := newHost(o.Stdout, o.Stderr)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if o, err = o.of(h); err != nil {
		return false, err
	}
	code, err := h.run(ctx, source+"/shimward", o.command("install", "--source", source)...)
	if err != nil {
		return false, err
	}
	if code != 0 {
		return false, errors.New("shimward install refused, for the reason above; the node is unchanged")
	}
	if err := o.awaitRuntime(ctx, a, h); err != nil {
		return false, err
	}
	code, err = h.run(ctx, filepath.Join(o.Prefix, "bin", "shimward"), o.configured([]string{"verify", "--address", o.Address})...)
	if err != nil {
		return false, err
	}
	if code != 0 && code != 1 {
		return false, fmt.Errorf("shimward verify could not run, for the reason above; the label %s of node %s is unchanged", ReadyLabel, o.Node)
	}
	held = code == 0
	if err := a.label(ctx, o.Node, held); err != nil {
		return false, fmt.Errorf("shimward held on this node: %t; but its label %s could not be changed: %w", held, ReadyLabel, err)
	}
	o.say("node %s: shimward held: %t; label %s is there: %t", o.Node, held, ReadyLabel, held)
	return held, nil
}

// awaitRuntime ensures that containerd has been restarted since its config was changed, and waits
// until kubelet knows the runtime. Until containerd has been restarted, the node does not have the
// label.
func (o Options) awaitRuntime(ctx context.Context, a *api, h *host) error {
	known, err := h.knows(o.Prefix, o.Address)
	if err != nil {
		return err
	}
	if !known {
		if err := a.label(ctx, o.Node, false); err != nil {
			return err
		}
		if err := o.restarted(ctx, h); err != nil {
			return err
		}
	}
	for said := false; ; said = true {
		n, err := a.node(ctx, o.Node)
		if err != nil {
			return err
		}
		// containerd 1.7 does not report its runtimes, so kubelet reports none either.
		if len(n.Status.RuntimeHandlers) == 0 || slices.Contains(n.Status.RuntimeHandlers, runtimeHandler{Name: handler}) {
			return nil
		}
		if !said {
			o.say("waiting until kubelet reports the runtime %q", handler)
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("wait until kubelet reports the runtime: %w", err)
		}
	}
}

// restarted restarts containerd, or waits until the operator has done so.
func (o Options) restarted(ctx context.Context, h *host) error {
	unit, err := h.unit(ctx, o.Prefix)
	switch {
	case !o.Restart && err != nil:
		o.say("now, on node %s: restart the service that runs containerd (containers keep running); %v", o.Node, err)
	case !o.Restart:
		o.say("now, on node %s: systemctl restart %s (containers keep running)", o.Node, unit)
	case err != nil:
		return fmt.Errorf("restart the service that runs containerd: %w", err)
	default:
		o.say("restarting %s", unit)
		code, err := h.run(ctx, "systemctl", "restart", unit)
		if err == nil && code != 0 {
			err = fmt.Errorf("systemctl restart %s ended with status %d, for the reason above", unit, code)
		}
		return err
	}
	for {
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("wait for a restart of containerd: %w", err)
		}
		// Errors are expected during the restart, when nobody listens.
		if known, err := h.knows(o.Prefix, o.Address); err == nil && known {
			return nil
		}
	}
}

// Uninstall removes the node's label, so that no new pod is scheduled, waits until the existing
// containers have ended, and removes shimward from the node.
func Uninstall(ctx context.Context, o Options) (err error) {
	a, err := inCluster(o.Getenv)
	if err != nil {
		return err
	}
	h, err := newHost(nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := a.label(ctx, o.Node, false); err != nil {
		return err
	}
	args := o.command("uninstall")
	if o.Restart {
		args = append(args, "--restart")
	}
	var before []byte
	for {
		var output bytes.Buffer
		h.stdout, h.stderr = &output, &output
		code, err := h.run(ctx, source+"/shimward", args...)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, output.Bytes()) {
			before = output.Bytes()
			if _, err := o.Stderr.Write(before); err != nil {
				return err
			}
		}
		if code == 0 {
			return nil
		}
		if err := pause(ctx, between); err != nil {
			return fmt.Errorf("shimward is still on the node: %w", err)
		}
	}
}

// Unused returns an error that names the pods of the runtime class in the cluster that are
// scheduled on a node and have not ended, or nil if there are none.
func Unused(ctx context.Context, o Options) error {
	a, err := inCluster(o.Getenv)
	if err != nil {
		return err
	}
	pods, err := a.podsOf(ctx, handler)
	if err != nil {
		return err
	}
	if len(pods) > 0 {
		return fmt.Errorf("%d pods of the runtime class %q are running, and would be lost without it; first delete them, or what creates them:\n  %s",
			len(pods), handler, strings.Join(pods, "\n  "))
	}
	return nil
}

// AwaitSet waits until a DaemonSet's pods are ready on every node that should have one.
func AwaitSet(ctx context.Context, o Options, namespace, name string) error {
	a, err := inCluster(o.Getenv)
	if err != nil {
		return err
	}
	for before := (daemonSet{}); ; {
		d, err := a.daemonSet(ctx, namespace, name)
		if err != nil {
			return err
		}
		if d.settled() {
			return nil
		}
		if d != before {
			before = d
			o.say("%s/%s is done on %d of %d nodes; the logs of its other pods say what blocks them", namespace, name, d.Status.Ready, d.Status.Wanted)
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("wait for %s/%s: %w", namespace, name, err)
		}
	}
}

func pause(ctx context.Context, interval time.Duration) error {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

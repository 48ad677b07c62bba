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
	// between is how long a container that is in the way of an uninstall is waited for.
	between = 5 * time.Second
)

// Options says what node this is, and where things are on it.
type Options struct {
	Node             string // its name in the cluster
	Prefix           string
	Containerd       string // the command
	ContainerdConfig string
	Address          string // containerd's socket; these three are empty where the node is to be asked
	Config           string // shimward's own config.toml; empty: where it is by default
	// Restart has systemd restart containerd where its config changed. Without it, that
	// is for the operator to do, and is waited for.
	Restart bool

	Getenv         func(string) string
	Stdout, Stderr io.Writer
}

func (o Options) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.Stderr, format+"\n", args...)
}

// command is a command of shimward's with the flags that install and uninstall share.
func (o Options) command(name string, more ...string) []string {
	return o.configured(append([]string{name, "--prefix", o.Prefix, "--containerd", o.Containerd, "--containerd-config", o.ContainerdConfig}, more...))
}

func (o Options) configured(args []string) []string {
	if o.Config != "" {
		args = append(args, "--config", o.Config)
	}
	return args
}

// of is these options for the containerd that runs this container, and so kubelet's pods,
// where they name none: there may be another, such as Docker's beside k3s.
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

// Install installs shimward on the node, waits until kubelet has the runtime, tries
// whether shimward holds, and labels the node by that. It returns whether it held.
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
		return false, errors.New("shimward install refused, and says why above; the node is as it was")
	}
	if err := o.awaitRuntime(ctx, a, h); err != nil {
		return false, err
	}
	code, err = h.run(ctx, filepath.Join(o.Prefix, "bin", "shimward"), o.configured([]string{"verify", "--address", o.Address})...)
	if err != nil {
		return false, err
	}
	if code != 0 && code != 1 {
		return false, fmt.Errorf("shimward verify could not be run, and says why above; the label %s of node %s is as it was", ReadyLabel, o.Node)
	}
	held = code == 0
	if err := a.label(ctx, o.Node, held); err != nil {
		return false, fmt.Errorf("shimward held on this node: %t; but its label %s could not be changed: %w", held, ReadyLabel, err)
	}
	o.say("node %s: shimward held: %t; label %s is there: %t", o.Node, held, ReadyLabel, held)
	return held, nil
}

// awaitRuntime sees to it that containerd has been restarted since its config was
// changed, and waits until kubelet knows of the runtime. Until then the node has no label.
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
		// containerd 1.7 does not tell its runtimes: kubelet reports none then.
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

// restarted has containerd restarted, or waits until the operator has done so.
func (o Options) restarted(ctx context.Context, h *host) error {
	unit, err := h.unit(ctx, o.Prefix)
	switch {
	case !o.Restart && err != nil:
		o.say("now, on node %s: restart what runs containerd (containers go on meanwhile); %v", o.Node, err)
	case !o.Restart:
		o.say("now, on node %s: systemctl restart %s (containers go on meanwhile)", o.Node, unit)
	case err != nil:
		return fmt.Errorf("restart what runs containerd: %w", err)
	default:
		o.say("restarting %s", unit)
		code, err := h.run(ctx, "systemctl", "restart", unit)
		if err == nil && code != 0 {
			err = fmt.Errorf("systemctl restart %s ended with status %d, and says why above", unit, code)
		}
		return err
	}
	for {
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("wait for a restart of containerd: %w", err)
		}
		// While it restarts, nobody listens.
		if known, err := h.knows(o.Prefix, o.Address); err == nil && known {
			return nil
		}
	}
}

// Uninstall takes the node's label away, so that no pod comes, waits for the end of
// the containers that are there, and takes shimward off the node.
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

// Unused is an error that names the pods of the runtime class, if there is one in the
// cluster that is on a node and has not ended.
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
		return fmt.Errorf("%d pods of the runtime class %q run, and would be lost without it; delete them first, or what makes them:\n  %s",
			len(pods), handler, strings.Join(pods, "\n  "))
	}
	return nil
}

// AwaitSet waits until a DaemonSet's pods are ready on every node that is to have one.
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
			o.say("%s/%s is done on %d of %d nodes; the logs of its other pods say what is in the way", namespace, name, d.Status.Ready, d.Status.Wanted)
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

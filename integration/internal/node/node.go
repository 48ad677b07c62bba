// Package node provides a private node on which to try shimward: a containerd with its own root,
// state and socket, a busybox image that needs no registry, and shimward with its own paths. A
// containerd that already runs on the machine is left alone. The tests, the demo and the benchmark
// all use it.
//
// The package starts processes and mounts file systems, so it needs root. A Node stops what it
// started, and Leaks reports what was left behind.
package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// Options configures a Node.
type Options struct {
	// Engines is the directory with containerd, ctr, its runc shim, and runc.
	Engines string
	// ConfigVersion is the version of containerd's config that its release writes: 2 for 1.7, 3 for
	// 2.0 to 2.2. Zero means 4, for later releases.
	ConfigVersion int
	// Bin is the directory with shimward's binaries. If it is empty, the node has no shimward.
	Bin string
	// Installer, if set, is the directory with shimward's binaries for a node on which shimward is
	// not installed yet: Bin is then where it will be installed, and containerd's config has no
	// shimward runtime but imports conf.d next to it. If empty, shimward is there from the
	// beginning.
	Installer string
	// Config is the content of the node's config.toml apart from its paths.
	Config string
	// RawConfig, if not nil, is used verbatim as the whole config.toml instead.
	RawConfig []byte
	// BPF, if set, is a directory on a bpffs that nodes share one after the other, so that the
	// programs are loaded only once. If empty, the node mounts its own bpffs.
	BPF string
	// Wrapper, if set, is a command to which containerd's command line is appended.
	Wrapper []string
	// CRI also enables containerd's CRI plugin.
	CRI bool
	// CNI, if set, configures the network of pods that do not use the host network.
	CNI *CNI
}

// CNI holds the directories in which containerd finds the CNI plugins and their config.
type CNI struct{ Bin, Conf string }

// Node is a running containerd.
type Node struct {
	// Dir contains everything of the node: root, state, config, logs.
	Dir string
	// Namespace is the containerd namespace of every container. No two nodes share one.
	Namespace string
	// Paths are the paths where this node's shimward keeps its files.
	Paths policy.Paths
	// Client talks to the node's containerd, in Namespace.
	Client *containerd.Client

	options Options
	process *exec.Cmd
	exited  chan struct{}
	log     *collected
	image   containerd.Image
}

const (
	stopTimeout = 2 * time.Minute
	// booted is the message that containerd logs once its sockets are served.
	booted = "containerd successfully booted"
)

// Start starts a node and imports its image. The caller calls Stop.
func Start(ctx context.Context, options Options) (_ *Node, err error) {
	dir, err := os.MkdirTemp("", "shimward-node-")
	if err != nil {
		return nil, fmt.Errorf("make the node's folder: %w", err)
	}
	// The root user of a user namespace must be able to reach its container's files.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // traversal only
		return nil, fmt.Errorf("open the node's folder to user namespaces: %w", err)
	}
	n := &Node{Dir: dir, Namespace: "sw-" + randomName(), options: options, exited: make(chan struct{})}
	n.Paths = policy.Paths{
		Run: filepath.Join(dir, "run"),
		Log: filepath.Join(dir, "log"),
	}
	n.Paths.BPF = filepath.Join(n.bpffs(), "shimward")
	if options.BPF != "" {
		n.Paths.BPF = options.BPF
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := n.mountBPF(); err != nil {
		return nil, err
	}
	if err := n.writeConfigs(); err != nil {
		return nil, err
	}
	if err := n.startContainerd(ctx); err != nil {
		return nil, err
	}
	n.Client, err = containerd.New(n.Socket(), containerd.WithDefaultNamespace(n.Namespace))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	n.image, err = n.importImage(ctx)
	return n, err
}

// Socket returns the path of containerd's socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "containerd.sock") }

// Log returns what containerd and its shims have logged since containerd booted.
func (n *Node) Log() string {
	_, after, _ := strings.Cut(n.log.String(), booted)
	return after
}

// Tool returns a command of the engines or of shimward, set up to talk to this node.
func (n *Node) Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	path := name
	for _, dir := range []string{n.options.Engines, n.options.Bin} {
		if _, err := os.Stat(filepath.Join(dir, name)); dir != "" && err == nil {
			path = filepath.Join(dir, name)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // the purpose is to run the tool that the caller names
	cmd.Env = append(n.env(), "CONTAINERD_ADDRESS="+n.Socket(), "CONTAINERD_NAMESPACE="+n.Namespace)
	return cmd
}

// Stop ends every container of the node, then containerd, and removes the node's directory. It may
// be called on a partly started node. Its error says what could not be removed.
func (n *Node) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	if n.Client != nil {
		errs = append(errs, n.deleteAll(ctx), n.Client.Close())
	}
	if n.process != nil {
		_ = n.process.Process.Signal(unix.SIGTERM)
		select {
		case <-n.exited:
		case <-ctx.Done():
			_ = n.process.Process.Kill()
			<-n.exited
			errs = append(errs, errors.New("containerd did not end on SIGTERM"))
		}
	}
	errs = append(errs, n.sweep())
	return errors.Join(errs...)
}

func (n *Node) bpffs() string { return filepath.Join(n.Dir, "bpffs") }

// mountBPF mounts a bpffs for the node, because some machines have none mounted.
func (n *Node) mountBPF() error {
	at := n.bpffs()
	if n.options.BPF != "" {
		return nil
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return fmt.Errorf("make the mount point of bpffs: %w", err)
	}
	if err := unix.Mount("bpf", at, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return fmt.Errorf("mount bpffs at %s: %w", at, err)
	}
	return nil
}

func (n *Node) env() []string {
	path := []string{n.options.Engines, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	if n.options.Bin != "" {
		path = append([]string{n.options.Bin}, path...)
	}
	return []string{
		"PATH=" + strings.Join(path, ":"),
		"HOME=" + n.Dir,
		"TMPDIR=" + os.TempDir(),
		"SHIMWARD_CONFIG=" + n.ConfigPath(),
	}
}

func (n *Node) startContainerd(ctx context.Context) error {
	n.log = &collected{}
	command := append(slices.Clone(n.options.Wrapper), filepath.Join(n.options.Engines, "containerd"), "--config", n.ContainerdConfigPath())
	cmd := n.Tool(context.WithoutCancel(ctx), command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = n.log, n.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	n.process = cmd
	go func() {
		defer close(n.exited)
		_ = cmd.Wait()
	}()
	select {
	case <-n.log.watch(booted):
		return nil
	case <-n.exited:
		return fmt.Errorf("containerd ended at once:\n%s", n.log)
	case <-ctx.Done():
		return fmt.Errorf("wait for containerd: %w\n%s", ctx.Err(), n.log)
	}
}

func randomName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

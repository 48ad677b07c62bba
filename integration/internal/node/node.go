// Package node is a node of one's own to try shimward on: a private containerd
// with its own root, state and socket, a busybox image that needs no registry,
// and shimward with paths of its own. A containerd that the machine runs already
// is left alone. The tests, the demo and the benchmark all stand on it.
//
// It starts processes and mounts, so it needs root. What it started it stops,
// and Leaks says what was left behind.
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

// Options is what a Node is made from.
type Options struct {
	// Engines is the folder with containerd, ctr, its runc shim, and runc.
	Engines string
	// ConfigVersion is of containerd's own config, as its release writes it: 2 for
	// 1.7, 3 for 2.0 to 2.2. Zero is 4, of later ones.
	ConfigVersion int
	// Bin is the folder with shimward's binaries. Empty: a node without shimward.
	Bin string
	// Installer, if any, is the folder with shimward's binaries on a node that nobody has
	// put it on yet: Bin is where somebody will, and containerd's config has no runtime of
	// shimward's, but imports conf.d beside it. Empty: shimward is there from the beginning.
	Installer string
	// Config is what the node's config.toml says beside its paths.
	Config string
	// RawConfig, if it is not nil, is the whole config.toml instead, as it is.
	RawConfig []byte
	// BPF, if any, is a folder on a bpffs that nodes share, one after the other:
	// the programs are loaded once. Empty: the node mounts a bpffs of its own.
	BPF string
	// Wrapper, if any, is a command that containerd's own is appended to.
	Wrapper []string
	// CRI starts containerd's Kubernetes side too.
	CRI bool
	// CNI, if any, is the network of pods that do not use the node's own.
	CNI *CNI
}

// CNI is where containerd finds the plugins that connect pods, and their config.
type CNI struct{ Bin, Conf string }

// Node is a running containerd.
type Node struct {
	// Dir holds everything of the node: root, state, config, logs.
	Dir string
	// Namespace is containerd's namespace of every container. No two nodes share one.
	Namespace string
	// Paths is where this node's shimward keeps what it owns.
	Paths policy.Paths
	// Client speaks to the node's containerd, in Namespace.
	Client *containerd.Client

	options Options
	process *exec.Cmd
	exited  chan struct{}
	log     *collected
	image   containerd.Image
}

const (
	stopTimeout = 2 * time.Minute
	// booted is what containerd logs when its sockets are served.
	booted = "containerd successfully booted"
)

// Start starts a node and imports its image. Stop ends it.
func Start(ctx context.Context, options Options) (_ *Node, err error) {
	dir, err := os.MkdirTemp("", "shimward-node-")
	if err != nil {
		return nil, fmt.Errorf("make the node's folder: %w", err)
	}
	// The root of a user namespace has to get through to its container's files.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // through, and no further
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

// Socket is the path of containerd's socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "containerd.sock") }

// Log is what containerd has logged since it booted, the shims' lines among it.
func (n *Node) Log() string {
	_, after, _ := strings.Cut(n.log.String(), booted)
	return after
}

// Tool is a command of the engines or of shimward, set up to speak to this node.
func (n *Node) Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	path := name
	for _, dir := range []string{n.options.Engines, n.options.Bin} {
		if _, err := os.Stat(filepath.Join(dir, name)); dir != "" && err == nil {
			path = filepath.Join(dir, name)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // running the tool that the caller names is the point
	cmd.Env = append(n.env(), "CONTAINERD_ADDRESS="+n.Socket(), "CONTAINERD_NAMESPACE="+n.Namespace)
	return cmd
}

// Stop ends every container of the node and containerd, and removes its folder.
// It may be called on a half-started node. Its error is of what would not go.
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

// mountBPF gives the node a bpffs of its own: some machines have none mounted.
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
	_, _ = rand.Read(b[:]) // never fails: crypto/rand says so
	return hex.EncodeToString(b[:])
}

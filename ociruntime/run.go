package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

// Name is the name for a link to shimward's binary that makes it act as `shimward runc`: Podman and
// containerd's BinaryName take only a path.
const Name = "shimward-runc"

// Invocation is how an engine ran the runtime.
type Invocation struct {
	Args    []string // without the program name
	Environ []string
	Getenv  func(string) string
	Stderr  io.Writer

	// Exec replaces this process by another program; tests replace the function.
	Exec func(path string, args, environ []string) error
}

// Run does what an engine asks of its OCI runtime. It returns only on failure, and has then
// reported the error where the engine looks for it.
func Run(ctx context.Context, invoked Invocation) error {
	if invoked.Exec == nil {
		invoked.Exec = syscall.Exec
	}
	c, err := parse(invoked.Args)
	if err == nil {
		err = run(ctx, c, invoked)
	}
	if c == nil {
		c = &command{}
	}
	say(c, invoked.Stderr, err)
	return err
}

func run(ctx context.Context, c *command, invoked Invocation) error {
	if mark := invoked.Getenv(envBelow); mark == strconv.Itoa(os.Getpid()) || mark == strconv.Itoa(os.Getppid()) {
		return errors.New("the runtime below shimward is shimward again: write the real runc's path as runc.path in shimward's config")
	}
	if c.config == "" {
		c.config = invoked.Getenv(nodeconfig.Env)
	}
	config, _, err := nodeconfig.Load(c.config)
	if err != nil && c.creates {
		return err
	}
	if err != nil {
		// Existing containers can still be killed and deleted.
		config = policy.DefaultConfig()
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find shimward's own binary: %w", err)
	}
	runc, err := findRunc(config.Runc.Path, self, usualPlaces)
	if err != nil {
		return err
	}
	if c.creates || c.name == "start" || c.name == "exec" {
		if err := trustRunc(runc); err != nil {
			return fmt.Errorf("the runtime below shimward: %w", err)
		}
	}
	args := c.args
	switch {
	case c.creates:
		if args, err = create(ctx, c, runc); err != nil {
			return err
		}
	case c.name == "start", c.name == "exec":
		if err := announce(ctx, c, config.Paths); err != nil {
			return err
		}
	}
	err = invoked.Exec(runc, append([]string{"runc"}, args...), marked(invoked.Environ))
	return fmt.Errorf("start %s: %w", runc, err)
}

// marked returns an environment with the mark of this process, which survives exec, as its only
// mark.
func marked(environ []string) []string {
	others := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool { return strings.HasPrefix(entry, envBelow+"=") })
	return append(others, envBelow+"="+strconv.Itoa(os.Getpid()))
}

// create has a container guarded before its creation, unless its mode is off, and returns the
// arguments to create it with.
func create(ctx context.Context, c *command, runc string) ([]string, error) {
	bundle := c.bundle
	if bundle == "" {
		bundle = "."
	}
	bundle, err := container.RealBundle(bundle)
	if err != nil {
		return nil, fmt.Errorf("find the bundle: %w", err)
	}
	root, err := filepath.Abs(c.root)
	if err != nil {
		return nil, fmt.Errorf("find runc's state: %w", err)
	}
	o := order{
		ID: c.id, Namespace: namespaceOf(c.root), Bundle: bundle, Restored: c.name == "restore",
		Config: c.config, Runc: runc, Root: root, Parent: os.Getpid(),
	}
	planned, err := container.Plan(o.request(nil))
	if err != nil {
		return nil, err
	}
	if !planned.Off() {
		if err := startMonitor(ctx, o); err != nil {
			return nil, err
		}
	}
	return c.rewritten(bundle), nil
}

// namespaceOf returns the namespace of the containers whose state is in root. containerd and Docker
// keep one folder per namespace: /run/containerd/runc/k8s.io.
func namespaceOf(root string) string { return filepath.Base(filepath.Clean(root)) }

// say reports an error where runc would have: on standard error, and in the file from which the
// engine reads it (runc, --log and --log-format).
func say(c *command, stderr io.Writer, err error) {
	text := "shimward: " + err.Error()
	fmt.Fprintln(stderr, text)
	if c.log == "" {
		return
	}
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // the engine's path, and the mode that runc gives it
	if err != nil {
		return // it is on stderr
	}
	defer f.Close() //nolint:errcheck // there is nowhere to say it
	now := time.Now().Format(time.RFC3339)
	if c.logFormat != "json" {
		fmt.Fprintf(f, "time=%q level=error msg=%q\n", now, text)
		return
	}
	_ = json.NewEncoder(f).Encode(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{"error", text, now})
}

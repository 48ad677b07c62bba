package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The runtimes under which a container can run.
const (
	Runc     = "io.containerd.runc.v2"
	Shimward = "io.containerd.shimward.v1"
)

// Spec describes a container to create.
type Spec struct {
	ID          string   // unique on the node; random if empty
	Runtime     string   // Runc or Shimward
	Binary      string   // the OCI runtime that Runc calls; runc if empty
	Args        []string // absolute path first; sleep if empty
	Annotations map[string]string
	// PIDOf is a running container whose pid namespace this one joins.
	PIDOf *Container
	// HostPID runs the container in the node's pid namespace.
	HostPID bool
	// Capabilities are added to containerd's default set.
	Capabilities []string
	Privileged   bool
	// User is "uid:gid", or empty for root.
	User string
	// DefaultSeccomp applies containerd's default seccomp profile (RuntimeDefault in Kubernetes).
	DefaultSeccomp bool
	// NoSpec creates the container without a spec, and thus a bundle without config.json.
	NoSpec bool
	// Options are applied last.
	Options []oci.SpecOpts
}

// Container is a container on a Node.
type Container struct {
	ID  string
	PID int // of init, in the node's pid namespace

	node      *Node
	container containerd.Container
	task      containerd.Task
	exit      <-chan containerd.ExitStatus
	output    *output
}

// Result is the outcome of a process.
type Result struct {
	Code   int
	Stdout string
	Stderr string
}

func (r Result) String() string {
	return fmt.Sprintf("exit code %d\nstdout:\n%s\nstderr:\n%s", r.Code, r.Stdout, r.Stderr)
}

// Run creates and starts a container, waits until it ends, and removes it.
func (n *Node) Run(ctx context.Context, spec Spec) (Result, error) {
	c, err := n.Create(ctx, spec)
	if err != nil {
		return Result{}, err
	}
	if err := c.Start(ctx); err != nil {
		return Result{}, errors.Join(err, c.Delete(ctx))
	}
	result, err := c.Wait(ctx)
	return result, errors.Join(err, c.Delete(ctx))
}

// RunDetached creates and starts a container. The caller deletes it.
func (n *Node) RunDetached(ctx context.Context, spec Spec) (*Container, error) {
	c, err := n.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Delete(ctx))
	}
	return c, nil
}

// Create creates a container up to the point where its init waits to be started. If it fails,
// nothing of the container is left in containerd.
func (n *Node) Create(ctx context.Context, spec Spec) (*Container, error) {
	c, err := n.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := c.CreateTask(ctx); err != nil {
		return nil, errors.Join(err, c.container.Delete(n.in(context.WithoutCancel(ctx)), containerd.WithSnapshotCleanup))
	}
	return c, nil
}

// Prepare creates everything of a container that does not involve the runtime: its record, its spec
// and its root file system. CreateTask does the rest.
func (n *Node) Prepare(ctx context.Context, spec Spec) (_ *Container, err error) {
	ctx = n.in(ctx)
	if spec.ID == "" {
		spec.ID = "c-" + randomName()
	}
	c := &Container{ID: spec.ID, node: n, output: &output{}}
	opts := []containerd.NewContainerOpts{containerd.WithRuntime(spec.Runtime, nil)}
	if spec.Binary != "" {
		opts[0] = containerd.WithRuntime(spec.Runtime, &options.Options{BinaryName: spec.Binary})
	}
	if !spec.NoSpec {
		opts = append(opts, containerd.WithImage(n.image), containerd.WithSnapshotter("overlayfs"),
			containerd.WithNewSnapshot(spec.ID, n.image), containerd.WithNewSpec(n.specOpts(spec)...))
	}
	c.container, err = n.Client.NewContainer(ctx, spec.ID, opts...)
	if err != nil {
		return nil, fmt.Errorf("make container %s: %w", spec.ID, err)
	}
	return c, nil
}

// CreateTask makes the runtime create a prepared container.
func (c *Container) CreateTask(ctx context.Context) (err error) {
	ctx = c.node.in(ctx)
	c.task, err = c.container.NewTask(ctx, c.output.creator(c.node))
	if err != nil {
		return fmt.Errorf("create the task of container %s: %w", c.ID, err)
	}
	c.PID = int(c.task.Pid())
	c.exit, err = c.task.Wait(context.WithoutCancel(ctx))
	if err != nil {
		_, deleteErr := c.task.Delete(context.WithoutCancel(ctx), containerd.WithProcessKill)
		return errors.Join(fmt.Errorf("wait for container %s: %w", c.ID, err), deleteErr)
	}
	return nil
}

func (n *Node) specOpts(spec Spec) []oci.SpecOpts {
	opts := []oci.SpecOpts{oci.WithImageConfig(n.image)}
	if len(spec.Args) > 0 {
		opts = append(opts, oci.WithProcessArgs(spec.Args...))
	}
	opts = append(opts, oci.WithAddedCapabilities(spec.Capabilities))
	if spec.Privileged {
		opts = append(opts, oci.WithPrivileged, oci.WithAllDevicesAllowed)
	}
	if spec.User != "" {
		opts = append(opts, oci.WithUser(spec.User))
	}
	if spec.HostPID {
		opts = append(opts, oci.WithHostNamespace(specs.PIDNamespace))
	}
	if spec.PIDOf != nil {
		opts = append(opts, oci.WithLinuxNamespace(specs.LinuxNamespace{
			Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", spec.PIDOf.PID),
		}))
	}
	if len(spec.Annotations) > 0 {
		opts = append(opts, oci.WithAnnotations(spec.Annotations))
	}
	if spec.DefaultSeccomp {
		// After the capabilities, because the profile allows more system calls for some of them.
		opts = append(opts, seccomp.WithDefaultProfile())
	}
	return append(opts, spec.Options...)
}

// Start lets the container's init run.
func (c *Container) Start(ctx context.Context) error {
	if err := c.task.Start(c.node.in(ctx)); err != nil {
		return fmt.Errorf("start container %s: %w", c.ID, err)
	}
	return nil
}

// Wait waits until the container's init has ended and its output is complete.
func (c *Container) Wait(ctx context.Context) (Result, error) {
	select {
	case status := <-c.exit:
		c.task.IO().Wait()
		return c.output.result(status)
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for container %s: %w", c.ID, ctx.Err())
	}
}

// Stdout returns what the container's init has written to standard output so far.
func (c *Container) Stdout() string { return c.output.stdout.String() }

// WaitLine waits until init has written text to its standard output.
func (c *Container) WaitLine(ctx context.Context, text string) error {
	select {
	case <-c.output.stdout.watch(text):
		return nil
	case status := <-c.exit:
		result, err := c.output.result(status)
		return errors.Join(fmt.Errorf("container %s ended before it said %q: %s", c.ID, text, result), err)
	case <-ctx.Done():
		return fmt.Errorf("wait for %q from container %s: %w", text, c.ID, ctx.Err())
	}
}

// Exec runs a command in the container, as `kubectl exec` does, and waits until it ends.
func (c *Container) Exec(ctx context.Context, id string, args ...string) (_ Result, err error) {
	ctx = c.node.in(ctx)
	spec, err := c.container.Spec(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("read the spec of container %s: %w", c.ID, err)
	}
	process := *spec.Process
	process.Args = args
	out := &output{}
	exec, err := c.task.Exec(ctx, id, &process, out.creator(c.node))
	if err != nil {
		return Result{}, fmt.Errorf("exec %s in container %s: %w", id, c.ID, err)
	}
	defer func() {
		_, deleteErr := exec.Delete(context.WithoutCancel(ctx), containerd.WithProcessKill)
		err = errors.Join(err, deleteErr)
	}()
	exit, err := exec.Wait(context.WithoutCancel(ctx))
	if err != nil {
		return Result{}, fmt.Errorf("wait for exec %s: %w", id, err)
	}
	if err := exec.Start(ctx); err != nil {
		return Result{}, fmt.Errorf("start exec %s in container %s: %w", id, c.ID, err)
	}
	select {
	case status := <-exit:
		exec.IO().Wait()
		return out.result(status)
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for exec %s: %w", id, ctx.Err())
	}
}

// Kill sends SIGKILL to the container's init.
func (c *Container) Kill(ctx context.Context) error {
	if err := c.task.Kill(c.node.in(ctx), syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("kill container %s: %w", c.ID, err)
	}
	return nil
}

// DeleteTask kills what still runs in the container and removes its task. The shim then exits, and
// all its events are in the store. The caller still has to call Delete.
func (c *Container) DeleteTask(ctx context.Context) error {
	_, err := c.task.Delete(c.node.in(context.WithoutCancel(ctx)), containerd.WithProcessKill)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete the task of container %s: %w", c.ID, err)
	}
	return nil
}

// Delete kills what still runs in the container and removes it.
func (c *Container) Delete(ctx context.Context) error {
	taskErr := c.DeleteTask(ctx)
	err := c.container.Delete(c.node.in(context.WithoutCancel(ctx)), containerd.WithSnapshotCleanup)
	if err = errors.Join(taskErr, err); err != nil {
		return fmt.Errorf("delete container %s: %w", c.ID, err)
	}
	return nil
}

// Bundle returns the path of the container's OCI bundle on the node, which exists as long as the
// task.
func (c *Container) Bundle() string { return c.node.Bundle(c.ID) }

// Bundle returns the path of a container's OCI bundle on the node, whether there is such a container
// already or not.
func (n *Node) Bundle(id string) string {
	return filepath.Join(n.Dir, "state", "io.containerd.runtime.v2.task", n.Namespace, id)
}

// RawSpec returns the container's spec as stored by containerd.
func (c *Container) RawSpec(ctx context.Context) ([]byte, error) {
	info, err := c.container.Info(c.node.in(ctx))
	if err != nil {
		return nil, fmt.Errorf("ask for container %s: %w", c.ID, err)
	}
	return info.Spec.GetValue(), nil
}

func (n *Node) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, n.Namespace)
}

func (n *Node) deleteAll(ctx context.Context) error {
	errs := []error{n.deleteIn(n.in(ctx))}
	if n.options.CRI {
		errs = append(errs, n.deleteIn(namespaces.WithNamespace(ctx, kubernetes)))
	}
	return errors.Join(errs...)
}

func (n *Node) deleteIn(ctx context.Context) error {
	all, err := n.Client.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list the node's containers: %w", err)
	}
	var errs []error
	for _, container := range all {
		task, err := container.Task(ctx, nil)
		switch {
		case err == nil:
			_, err = task.Delete(ctx, containerd.WithProcessKill)
			errs = append(errs, err)
		case !errdefs.IsNotFound(err):
			errs = append(errs, err)
		}
		errs = append(errs, container.Delete(ctx, containerd.WithSnapshotCleanup))
	}
	return errors.Join(errs...)
}

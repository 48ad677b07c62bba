package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// namespace is the containerd namespace of every container that is created here.
const namespace = "shimward-verify"

// The runtimes.
const (
	runtimeRunc     = "io.containerd.runc.v2"
	runtimeShimward = "io.containerd.shimward.v1"
)

// requestTimeout limits one request to containerd. It is long because creating the first guarded
// container since boot makes the kernel verify every program.
const requestTimeout = 10 * time.Minute

// engine is the node's containerd. It is called through its gRPC services and not through its
// client package, which would double the size of a binary that is also a hook.
type engine struct {
	connection *grpc.ClientConn
	containers containersapi.ContainersClient
	tasks      tasksapi.TasksClient
	namespaces namespacesapi.NamespacesClient
}

func connect(address string) (*engine, error) {
	connection, err := grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", address, err)
	}
	return &engine{
		connection: connection,
		containers: containersapi.NewContainersClient(connection),
		tasks:      tasksapi.NewTasksClient(connection),
		namespaces: namespacesapi.NewNamespacesClient(connection),
	}, nil
}

// close closes the connection, and removes what containerd and runc keep for the namespace.
func (e *engine) close(ctx context.Context) error {
	ctx, cancel := request(ctx)
	defer cancel()
	_, err := e.namespaces.Delete(ctx, &namespacesapi.DeleteNamespaceRequest{Name: namespace})
	if code := status.Code(err); code == codes.NotFound || code == codes.Unavailable || code == codes.FailedPrecondition {
		err = nil // it was not created, or cannot be deleted for a reason that has been reported
	}
	_ = os.Remove(filepath.Join("/run/containerd/runc", namespace)) // it may not exist; only an empty folder is removed
	return errors.Join(err, e.connection.Close())
}

// request returns the context for one request. It is not cancelled by a Ctrl-C: a half-created
// container would be left behind if its creator went away.
func request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), "containerd-namespace", namespace)
	return context.WithTimeout(ctx, requestTimeout)
}

// container is a container that runs, or has run.
type container struct {
	id     string
	pid    uint32
	engine *engine
	output *output
	exited chan exit
}

type exit struct {
	code uint32
	err  error
}

// run creates and starts a container. If the container does not start, nothing of it is left.
func (e *engine) run(ctx context.Context, id, runtime string, spec *specs.Spec, dir string) (_ *container, err error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	c := &container{id: id, engine: e, exited: make(chan exit, 1)}
	if c.output, err = newOutput(filepath.Join(dir, id)); err != nil {
		return nil, err
	}
	requestCtx, cancel := request(ctx)
	defer cancel()
	_, err = e.containers.Create(requestCtx, &containersapi.CreateContainerRequest{Container: &containersapi.Container{
		ID:      id,
		Runtime: &containersapi.Container_Runtime{Name: runtime},
		Spec:    &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: raw},
	}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make container %s: %w", id, err), c.output.close(true))
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start container %s under %s: %w", id, runtime, err), c.delete(ctx))
		}
	}()
	created, err := e.tasks.Create(requestCtx, &tasksapi.CreateTaskRequest{
		ContainerID: id, Stdout: c.output.stdout.path, Stderr: c.output.stderr.path,
	})
	if err != nil {
		return nil, err
	}
	c.pid = created.Pid
	if _, err := e.tasks.Start(requestCtx, &tasksapi.StartRequest{ContainerID: id}); err != nil {
		return nil, err
	}
	go c.watch(ctx)
	return c, nil
}

// watch waits for init to end, without a timeout. It also ends when the connection is closed.
func (c *container) watch(ctx context.Context) {
	ctx = metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), "containerd-namespace", namespace)
	response, err := c.engine.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: c.id})
	c.exited <- exit{code: response.GetExitStatus(), err: err}
}

// wait waits for init to end and returns its exit code.
func (c *container) wait(ctx context.Context) (uint32, error) {
	select {
	case ended := <-c.exited:
		return ended.code, ended.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// waitLine waits until init has written text to its standard output.
func (c *container) waitLine(ctx context.Context, text string) error {
	select {
	case <-c.output.stdout.watch(text):
		return nil
	case ended := <-c.exited:
		return errors.Join(fmt.Errorf("container %s ended with status %d: %s", c.id, ended.code, c.output.stderr), ended.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// delete ends a container, whatever its state is, and removes it. After that its output is
// complete.
func (c *container) delete(ctx context.Context) error {
	ctx, cancel := request(ctx)
	defer cancel()
	ended := c.end(ctx)
	_, err := c.engine.containers.Delete(ctx, &containersapi.DeleteContainerRequest{ID: c.id})
	if err := errors.Join(ended, gone(err), c.output.close(ended == nil)); err != nil {
		return fmt.Errorf("delete container %s of containerd's namespace %s: %w", c.id, namespace, err)
	}
	return nil
}

func (c *container) end(ctx context.Context) error {
	_, err := c.engine.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: c.id, Signal: uint32(unix.SIGKILL), All: true})
	if status.Code(err) == codes.NotFound { // neither the task nor a process in it exists
		err = nil
	}
	if err != nil {
		return err
	}
	if _, err := c.engine.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: c.id}); err != nil {
		return gone(err)
	}
	_, err = c.engine.tasks.Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: c.id})
	return gone(err)
}

func gone(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

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

// namespace is containerd's, of every container that is made here.
const namespace = "shimward-verify"

// The runtimes.
const (
	runtimeRunc     = "io.containerd.runc.v2"
	runtimeShimward = "io.containerd.shimward.v1"
)

// requestTimeout bounds what containerd does at one request. Creating the first
// guarded container since the boot has the kernel verify every program.
const requestTimeout = 10 * time.Minute

// engine is the node's containerd. It is spoken to through its services, and not
// through its client: that would double the size of a binary that is also a hook.
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

// close also removes what containerd and runc keep of the namespace.
func (e *engine) close(ctx context.Context) error {
	ctx, cancel := request(ctx)
	defer cancel()
	_, err := e.namespaces.Delete(ctx, &namespacesapi.DeleteNamespaceRequest{Name: namespace})
	if code := status.Code(err); code == codes.NotFound || code == codes.Unavailable || code == codes.FailedPrecondition {
		err = nil // it was not made, or cannot be: that has been told
	}
	_ = os.Remove(filepath.Join("/run/containerd/runc", namespace)) // where it is, and empty
	return errors.Join(err, e.connection.Close())
}

// request is the context of one request. It outlives a Ctrl-C: a container that is
// half made when its maker goes away stays.
func request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), "containerd-namespace", namespace)
	return context.WithTimeout(ctx, requestTimeout)
}

// container is one that runs, or has run.
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

// run makes a container and starts it. It leaves nothing of one that does not start.
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

// watch waits for the end of init for as long as it takes; the end of the connection ends it.
func (c *container) watch(ctx context.Context) {
	ctx = metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), "containerd-namespace", namespace)
	response, err := c.engine.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: c.id})
	c.exited <- exit{code: response.GetExitStatus(), err: err}
}

// wait waits for the end of init and returns its exit code.
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

// delete ends a container, in whichever state it is, and removes it. After that its output is complete.
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
	if status.Code(err) == codes.NotFound { // of the task, or of a process in it
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

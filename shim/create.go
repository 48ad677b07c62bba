package shim

import (
	"context"
	"errors"
	"fmt"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shimward/shimward/container"
)

// Create creates a container: it plans the guard, prepares what the plan needs, and leaves the rest
// to the embedded service. If anything fails, nothing is left behind.
func (s *service) Create(ctx context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	options, err := translate(r.GetOptions())
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	r.Options = options

	over, ok := s.begin(r.GetID())
	if !ok {
		// Otherwise prepare would treat the state of the existing container as a leftover.
		return nil, refuse(codes.AlreadyExists, fmt.Errorf("this shim already has a container %s: delete it first", r.GetID()))
	}
	defer over() // runs after undo
	s.reconcileLater(ctx)
	undo := &container.Cleanup{}
	defer undo.Run()
	c, err := s.prepare(ctx, r, undo)
	if err != nil {
		return nil, err
	}
	if c == nil { // mode off: behave like runc
		over()
		return s.TTRPCTaskService.Create(ctx, r)
	}
	s.put(r.GetID(), c)
	undo.Add(func() { s.remove(r.GetID()) })

	response, err := s.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		return nil, err // contains the hook's message, if the hook is what failed
	}
	undo.Add(func() {
		// The container already has an init, which waits for Start.
		if _, err := s.TTRPCTaskService.Delete(context.WithoutCancel(ctx), &task.DeleteRequest{ID: r.GetID()}); err != nil {
			log.G(ctx).WithError(err).Warn("shimward: delete a partly created container")
		}
	})
	if err := c.Attach(int(response.GetPid())); err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	undo.Release()
	c.RecordCreated()
	return response, nil
}

// prepare does what has to be done before the runtime is called. If the container's mode is off, it
// does nothing and returns nil. The error is a gRPC status.
func (s *service) prepare(ctx context.Context, r *task.CreateTaskRequest, undo *container.Cleanup) (*container.Container, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	planned, err := container.Plan(container.Request{
		ID: r.GetID(), Namespace: namespace, Bundle: r.GetBundle(), Restored: r.GetCheckpoint() != "",
		ConfigFile: s.configFile,
		Hook:       func() (string, error) { return container.FindHook(s.executable) },
		CheckNode:  s.checkNode,
	})
	if err != nil {
		return nil, refuse(codeOf(err), err)
	}
	if planned.Off() {
		return nil, nil //nolint:nilnil // there is nothing to guard
	}
	c, err := planned.Guard(ctx, undo)
	if err == nil {
		err = c.Host()
	}
	if err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	return c, nil
}

// codeOf returns the gRPC code that says who is responsible for an error.
func codeOf(err error) codes.Code {
	var invalid *container.InvalidError
	if errors.As(err, &invalid) {
		return codes.InvalidArgument
	}
	return codes.FailedPrecondition
}

// refuse is the only place that turns an error into a gRPC status. Users read its text in ctr's
// error or in the pod's events.
func refuse(code codes.Code, err error) error {
	return status.Error(code, "shimward: "+err.Error())
}

package shim

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	eventstypes "github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/events"
	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

// service is runc's task service, with shimward's part of some calls before or after the embedded
// one. Calls without a method here go straight to the embedded service.
type service struct {
	task.TTRPCTaskService

	executable string // absolute path of this shim
	checkNode  func(policy.Paths) error
	configFile string // the value of nodeconfig.Env

	mu         sync.Mutex
	reconcile  func()                          // guarded by mu; reconciles now if that is still to be done; nil before the first Create
	containers map[string]*container.Container // guarded by mu; the containers that have a guard, by ID
	creating   map[string]chan struct{}        // guarded by mu; closed when the Create of that ID is over
}

// newTask creates the embedded service.
type newTask func(context.Context, containerdshim.Publisher, shutdown.Service) (task.TTRPCTaskService, error)

func newService(ctx context.Context, publisher containerdshim.Publisher, sd shutdown.Service, inner newTask) (*service, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &service{
		executable: executable,
		checkNode:  container.CheckNode,
		configFile: os.Getenv(nodeconfig.Env),
		containers: map[string]*container.Container{},
		creating:   map[string]chan struct{}{},
	}
	holdGarbage()
	s.TTRPCTaskService, err = inner(ctx, watched{Publisher: publisher, exited: s.exited}, sd)
	if err != nil {
		return nil, err
	}
	sd.RegisterCallback(func(context.Context) error {
		s.closeAll()
		return nil
	})
	return s, nil
}

// RegisterTTRPC registers the service on the shim's socket under both of its names, so that a
// containerd 2.x finds a shim that the 1.7 before it has started.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	task.RegisterTTRPCTaskService(server, s)
	s.registerV2(server)
	return nil
}

func (s *service) put(id string, c *container.Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[id] = c
}

// get returns a guarded container, or nil.
func (s *service) get(id string) *container.Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id]
}

func (s *service) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, id)
}

// begin marks a container as being created until the returned function is called. It returns false
// if a container with that ID exists or is being created.
func (s *service) begin(id string) (over func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[id] != nil || s.creating[id] != nil {
		return nil, false
	}
	done := make(chan struct{})
	s.creating[id] = done
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.creating, id)
		close(done)
	}), true
}

// settled is get, after waiting for any Create of that ID to finish. A caller that gave up on a
// Create deletes the container without knowing whether it exists yet, and a half-created container
// could be neither completed nor undone by Delete. The error is a gRPC status.
func (s *service) settled(ctx context.Context, id string) (*container.Container, error) {
	s.mu.Lock()
	done := s.creating[id]
	s.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return nil, refuse(status.FromContextError(ctx.Err()).Code(), fmt.Errorf("container %s is still being created: try again when it has been", id))
		}
	}
	return s.get(id), nil
}

// closeAll closes all containers and does what was put off when the shim ends.
func (s *service) closeAll() {
	s.mu.Lock()
	all := s.containers
	s.containers = map[string]*container.Container{}
	reconcile := s.reconcile
	s.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	if reconcile != nil {
		reconcile()
	}
}

// reconcileLater schedules a reconciliation of the node, once in the shim's life.
func (s *service) reconcileLater(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reconcile == nil {
		s.reconcile = container.ReconcileLater(ctx, s.configFile)
	}
}

// Exec creates a process in a container, to be started by Start.
func (s *service) Exec(ctx context.Context, r *task.ExecProcessRequest) (*emptypb.Empty, error) {
	response, err := s.TTRPCTaskService.Exec(ctx, r)
	// An exec that is refused because its ID is taken is not announced.
	if c := s.get(r.GetID()); err == nil && c != nil && r.GetExecID() != "" {
		c.Announce(r.GetExecID(), container.ProcessArgs(r.GetSpec().GetValue()))
	}
	return response, err
}

// Start starts a container's init, or an exec.
func (s *service) Start(ctx context.Context, r *task.StartRequest) (*task.StartResponse, error) {
	c, err := s.settled(ctx, r.GetID())
	if err != nil {
		return nil, err
	}
	if c == nil {
		return s.TTRPCTaskService.Start(ctx, r)
	}
	if r.GetExecID() != "" {
		// The runtime passes the process's seccomp listener to whoever owns the socket.
		if err := c.Intact(); err != nil {
			return nil, fmt.Errorf("start exec %s: somebody removed or replaced the container's state: recreate the container: %w", r.GetExecID(), err)
		}
		started := c.Starting(r.GetExecID())
		response, err := s.TTRPCTaskService.Start(ctx, r)
		started(int(response.GetPid()))
		if err == nil {
			c.Process(r.GetExecID()).RecordStart(ctx, int(response.GetPid()))
		}
		return response, err
	}
	before, err := c.InitProgram()
	if err != nil {
		log.G(ctx).WithError(err).Debug("shimward: init was gone before its start")
	}
	response, err := s.TTRPCTaskService.Start(ctx, r)
	if err != nil {
		return response, err
	}
	c.Process("").RecordStart(ctx, int(response.GetPid()))
	c.Watch(before, func(ctx context.Context) error {
		_, err := s.Kill(ctx, &task.KillRequest{ID: r.GetID(), Signal: uint32(unix.SIGKILL), All: true})
		return err
	})
	return response, nil
}

// Delete deletes a container, or an exec.
func (s *service) Delete(ctx context.Context, r *task.DeleteRequest) (*task.DeleteResponse, error) {
	c, err := s.settled(ctx, r.GetID())
	if err != nil {
		return nil, err
	}
	if c != nil && r.GetExecID() == "" {
		c.NoteDropped() // the poststop hook releases the counter
	}
	response, err := s.TTRPCTaskService.Delete(ctx, r)
	if err != nil || c == nil {
		return response, err
	}
	// Whoever waited for the process may delete it before its exit is published.
	code := int(response.GetExitStatus())
	p := c.Process(r.GetExecID())
	p.RecordExit(int(response.GetPid()), &code, response.GetExitedAt().AsTime())
	if r.GetExecID() != "" {
		p.Forget()
		return response, nil
	}
	s.remove(r.GetID())
	c.Finish(ctx)
	return response, nil
}

// exited is called at the end of each process that the service has started.
func (s *service) exited(e *eventstypes.TaskExit) {
	c := s.get(e.GetContainerID())
	if c == nil {
		return
	}
	execID := e.GetID()
	if execID == e.GetContainerID() {
		execID = ""
	}
	code := int(e.GetExitStatus())
	c.Process(execID).RecordExit(int(e.GetPid()), &code, exitTime(e.GetExitedAt()))
}

func exitTime(at *timestamppb.Timestamp) time.Time {
	if at == nil {
		return time.Now()
	}
	return at.AsTime()
}

// watched is a publisher that reports the exits that are published through it. Unlike Wait, it
// needs no goroutine for each process; unlike polling, it misses none.
type watched struct {
	containerdshim.Publisher

	exited func(*eventstypes.TaskExit)
}

// Publish implements containerdshim.Publisher.
func (w watched) Publish(ctx context.Context, topic string, e events.Event) error {
	if exit, ok := e.(*eventstypes.TaskExit); ok {
		w.exited(exit)
	}
	return w.Publisher.Publish(ctx, topic, e)
}

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

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// Create creates a container: it plans, makes what the plan needs, and leaves
// the rest to the embedded service. Whatever fails, nothing of it stays.
func (s *service) Create(ctx context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	options, err := translate(r.GetOptions())
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	r.Options = options

	if s.get(r.GetID()) != nil {
		// What follows would take the running one's guard for a leftover.
		return nil, refuse(codes.AlreadyExists, fmt.Errorf("this shim has a container %s: delete it first", r.GetID()))
	}
	// Afterwards, so that no container waits for it.
	defer s.reconciled.Do(func() { go reconcileNode(context.WithoutCancel(ctx), s.configFile) })
	undo := &cleanup{}
	defer undo.run()
	c, err := s.prepare(ctx, r, undo)
	if err != nil {
		return nil, err
	}
	if c == nil { // mode off: as under runc
		return s.TTRPCTaskService.Create(ctx, r)
	}
	s.put(r.GetID(), c)
	undo.add(func() { s.remove(r.GetID()) })

	response, err := s.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		return nil, err // with the hook's sentence in it, where that is what failed
	}
	undo.add(func() {
		// It has an init already, which waits for Start.
		if _, err := s.TTRPCTaskService.Delete(context.WithoutCancel(ctx), &task.DeleteRequest{ID: r.GetID()}); err != nil {
			log.G(ctx).WithError(err).Warn("shimward: delete a container that was half created")
		}
	})
	if err := c.attach(int(response.GetPid())); err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	undo.release()
	c.record(event.Event{
		Kind:    event.KindCreated,
		Message: fmt.Sprintf("the container was created: mode %s, profile %s", c.plan.Mode, c.plan.Profile),
	})
	c.recordRisks()
	return response, nil
}

// prepare does what comes before the runtime: it returns nil where the
// container's mode is off, and has then made nothing. Its error is a gRPC status.
func (s *service) prepare(ctx context.Context, r *task.CreateTaskRequest, undo *cleanup) (*container, error) {
	bundle, err := realBundle(r.GetBundle())
	if err != nil {
		return nil, refuse(codes.InvalidArgument, fmt.Errorf("find the bundle: %w", err))
	}
	spec, err := readSpec(bundle)
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	view, err := spec.view()
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	config, _, err := nodeconfig.Load(s.configFile)
	if err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	plan, err := config.Plan(policy.Facts{
		ID: r.GetID(), Namespace: namespace, Bundle: bundle, Annotations: view.Annotations,
	})
	if err != nil {
		return nil, refuse(codes.InvalidArgument, err)
	}
	if plan.Mode == policy.ModeOff {
		return nil, nil //nolint:nilnil // there is nothing to guard
	}
	risks, err := findRisks(spec, plan)
	if err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	hook, err := s.check(r, plan)
	if err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	c, err := guard(ctx, spec, view, plan, config.Store, hook, undo)
	if err != nil {
		return nil, refuse(codes.FailedPrecondition, err)
	}
	c.risks = risks
	return c, nil
}

// check refuses what cannot be guaranteed here, and finds the hooks' binary.
func (s *service) check(r *task.CreateTaskRequest, plan *policy.Plan) (string, error) {
	if r.GetCheckpoint() != "" {
		return "", errors.New("a container that is restored from a checkpoint cannot be guarded, its processes never exec: " +
			`set the annotation shimward.dev/mode to "off", or start it anew`)
	}
	hook, err := findHook(s.executable)
	if err != nil {
		return "", err
	}
	return hook, s.checkNode(plan.Paths)
}

// guard makes the container's state and edits its spec.
func guard(ctx context.Context, spec *specFile, view *specView, plan *policy.Plan, limits policy.StoreLimits, hook string, undo *cleanup) (*container, error) {
	profile, err := view.profile()
	if err != nil {
		return nil, err
	}
	merged, residue, err := seccomp.Merge(profile, seccomp.MergeOptions{
		Socket:        plan.Paths.Notify(plan.Identity.Key),
		Architectures: seccomp.HostArchitectures(),
	})
	if err != nil {
		return nil, err
	}
	text, err := guardedSpec(spec.text, hooks.Entry{Binary: hook, Run: plan.Paths.Run}, merged)
	if err != nil {
		return nil, err
	}
	c, err := open(ctx, plan, limits, undo)
	if err != nil {
		return nil, err
	}
	c.prepareRing(undo)
	c.rootfs = view.rootfs(plan.Identity.Bundle)
	c.announce("", view.Process.Args)
	if merged.ListenerPath != "" {
		if err := c.listen(residue); err != nil {
			return nil, err
		}
	}
	// A runtime that is killed in the middle of its create leaves them.
	undo.add(func() { cleanCgroups(context.WithoutCancel(ctx), spec) })
	if err := spec.write(text); err != nil {
		return nil, err
	}
	undo.add(func() {
		// A bundle that is tried again is tried as it came.
		if err := spec.write(spec.text); err != nil {
			log.G(ctx).WithError(err).Warn("shimward: put the container's spec back")
		}
	})
	return c, nil
}

// refuse is the one place where an error becomes a gRPC status: its text is
// what the user reads, in ctr's error or in the pod's events.
func refuse(code codes.Code, err error) error {
	return status.Error(code, "shimward: "+err.Error())
}

package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/shimward/shimward/bpf"
)

// The names of the hooks that Run runs.
const (
	NameCreateRuntime = "create-runtime"
	NamePoststop      = "poststop"
)

// Run runs the named hook. stdin is the runtime's state, run is the value of EnvRun, and errors
// that do not fail the hook go to log.
func Run(ctx context.Context, name string, stdin io.Reader, run string, log io.Writer) error {
	switch name {
	case NameCreateRuntime:
		return CreateRuntime(ctx, stdin, run)
	case NamePoststop:
		Poststop(ctx, stdin, run, log)
		return nil
	default:
		return fmt.Errorf("no hook is called %q: there are %s and %s", name, NameCreateRuntime, NamePoststop)
	}
}

// CreateRuntime is the hook that puts a container under guard. At this point, the container's init
// exists and is in its cgroup, but runs no user code yet. stdin is the runtime's state, and run is
// the value of EnvRun. An error aborts the container's creation, and the user sees its text.
func CreateRuntime(ctx context.Context, stdin io.Reader, run string) error {
	s, err := readState(stdin)
	if err != nil {
		return err
	}
	if s.PID <= 0 {
		return fmt.Errorf("the runtime's state has pid %d: a createRuntime hook is started with the container's init there", s.PID)
	}
	plan, err := readPlan(run, s)
	if err != nil {
		return err
	}
	cgroup, err := bpf.CgroupPath(s.PID)
	if err != nil {
		return fmt.Errorf("find the container's cgroup: %w", err)
	}
	node, err := bpf.Ensure(bpf.NodeOptions{Paths: plan.Paths})
	if err != nil {
		return fmt.Errorf("load shimward's programs: %w", err)
	}
	defer node.Close() //nolint:errcheck // what it opened is pinned
	if err := plan.CheckTier(node.Tier()); err != nil {
		return err
	}
	// Write the enrolment first, so that whoever finds the container enrolled can tell when that is
	// stale.
	if err := writeEnrolment(plan, Enrolment{PID: s.PID, Cgroup: cgroup}); err != nil {
		return err
	}
	if err := node.Enrol(plan, s.PID, cgroup); err != nil {
		return fmt.Errorf("put the container under guard: %w", err)
	}
	if !plan.Monitored {
		return nil
	}
	// Nothing may run before the monitor, which answers the container's calls, has taken it over.
	if err := Tell(ctx, plan.Paths, plan.Identity.Key, Message{What: MessageCreated, PID: s.PID}); err != nil {
		return errors.Join(fmt.Errorf("hand the container to its monitor: %w", err), bpf.Release(plan.Paths, plan.Identity.Key))
	}
	return nil
}

// Poststop is the hook that releases a container's state in the kernel. It writes to log what it
// could not do, and never fails: an error would fail the container's deletion (runc 1.5 exits 1),
// and the shim releases the state as well.
func Poststop(ctx context.Context, stdin io.Reader, run string, log io.Writer) {
	if err := poststop(ctx, stdin, run); err != nil {
		fmt.Fprintln(log, "shimward: release the container's guard:", err)
	}
}

func poststop(ctx context.Context, stdin io.Reader, run string) error {
	s, err := readState(stdin)
	if err != nil {
		return err
	}
	plan, err := readPlan(run, s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the shim has released it already
	}
	if err != nil {
		return err
	}
	if plan.Monitored {
		err := Tell(ctx, plan.Paths, plan.Identity.Key, Message{What: MessageStopped})
		if errors.Is(err, ErrNoMonitor) {
			return releaseBereft(ctx, plan)
		}
		return err
	}
	return bpf.Release(plan.Paths, plan.Identity.Key)
}

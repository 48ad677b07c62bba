package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/shimward/shimward/bpf"
)

// What Run runs.
const (
	NameCreateRuntime = "create-runtime"
	NamePoststop      = "poststop"
)

// Run runs the hook of that name, with the runtime's state at stdin, run the
// value of EnvRun, and log for what does not fail the hook.
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

// CreateRuntime is the hook that puts a container under guard: its init exists
// and is in its cgroup, and runs no user code yet. stdin is the runtime's
// state, run the value of EnvRun. An error aborts the container's creation, and
// its text is what the user reads.
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
	// First, so that whoever finds the enrolment knows when it is stale.
	if err := writeEnrolment(plan, Enrolment{PID: s.PID, Cgroup: cgroup}); err != nil {
		return err
	}
	if err := node.Enrol(plan, s.PID, cgroup); err != nil {
		return fmt.Errorf("put the container under guard: %w", err)
	}
	if !plan.Monitored {
		return nil
	}
	// Nothing runs before whoever answers its calls has it.
	if err := Tell(ctx, plan.Paths, plan.Identity.Key, Message{What: MessageCreated, PID: s.PID}); err != nil {
		return errors.Join(fmt.Errorf("hand the container to its monitor: %w", err), bpf.Release(plan.Paths, plan.Identity.Key))
	}
	return nil
}

// Poststop is the hook that lets a container's state in the kernel go. It says
// on log what it could not do and never fails: an error would fail the
// container's deletion (runc 1.5 exits 1), and the shim releases as well.
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
		return nil // the shim was faster
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

package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/policy"
)

// ReleaseBereft does what is left to do at the end of a container whose host no longer answers. text is
// the state that the runtime has given the poststop hook, and run is the value of hooks.EnvRun.
//
// What it does for a container of a shim, whoever runs the shim's `delete` would do as well
// (ReleaseDead); nobody runs anything for a monitor's.
func ReleaseBereft(ctx context.Context, text []byte, run string) error {
	state, err := hooks.ParseState(text)
	if err != nil {
		return err
	}
	plan, err := planOf(run, state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has been released already
	}
	if err != nil {
		return err
	}
	key := plan.Identity.Key
	// An earlier version's hook has not asked yet.
	err = hooks.Tell(ctx, plan.Paths, key, hooks.Message{What: hooks.MessageStopped})
	if !errors.Is(err, hooks.ErrNoHost) {
		return err
	}
	if !present(plan.Paths.Plan(key)) {
		return nil // it has just ended in an orderly way
	}
	if err := AwaitEmpty(ctx, func() bool { return Populated(plan.Paths, key) }); err != nil {
		return err
	}
	if !plan.Monitored {
		// The rest is for the shim, which may be an earlier version's and alive, or for its `delete`.
		return bpf.Release(plan.Paths, key)
	}
	store, err := openStore(plan.Paths, key)
	if err == nil {
		err = errors.Join(store.Append(endOf(plan, nil)), store.Close())
	}
	return errors.Join(err, bpf.Release(plan.Paths, key), os.RemoveAll(plan.Paths.Container(key)))
}

// planOf reads the Plan of the container of a state.
func planOf(run string, s hooks.State) (*policy.Plan, error) {
	if !filepath.IsAbs(run) {
		return nil, fmt.Errorf("%s is %q in the hook's environment: shimward sets it to the folder of its state", hooks.EnvRun, run)
	}
	key := policy.Key(s.ID, s.Bundle)
	paths := policy.Paths{Run: run}
	plan, err := readPlan(paths, key)
	if err != nil {
		return nil, fmt.Errorf("read the container's plan %s: %w", paths.Plan(key), err)
	}
	if plan.Identity.Key != key || plan.Paths.Run != run {
		return nil, fmt.Errorf("the plan %s is for %q under %q, not for this container", paths.Plan(key), plan.Identity.Key, plan.Paths.Run)
	}
	return plan, nil
}

// Package hooks owns shimward's two OCI hooks: how they are written into a
// bundle's config.json (Edit), and what they do once the runtime calls them
// (CreateRuntime, Poststop).
//
// The runtime starts a process for each hook of every container, and waits for it. So the package
// links no containerd, reads only the few fields that it needs, and does nothing that the shim could
// do later.
package hooks

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// EnvRun is the only variable in a hook's environment. It holds policy.Paths.Run, where the hook
// finds the container's Plan.
const EnvRun = "SHIMWARD_RUN"

// maxInput bounds what a hook reads: the runtime's state, a Plan.
const maxInput = 16 << 20

// state is the part of a runtime-spec state that the hooks need
// (runtime-spec, "State"); the runtime writes it to a hook's stdin.
type state struct {
	ID     string `json:"id"`
	PID    int    `json:"pid"`
	Bundle string `json:"bundle"`
}

// readState reads a state from a hook's stdin.
func readState(stdin io.Reader) (state, error) {
	var s state
	raw, err := io.ReadAll(io.LimitReader(stdin, maxInput))
	if err != nil {
		return s, fmt.Errorf("read the container's state from the runtime: %w", err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("parse the container's state from the runtime: %w", err)
	}
	if s.ID == "" || !filepath.IsAbs(s.Bundle) {
		return s, fmt.Errorf("the runtime's state has id %q and bundle %q: shimward's hooks are started by an OCI runtime, which gives both, with an absolute bundle", s.ID, s.Bundle)
	}
	return s, nil
}

// readPlan reads the Plan that the shim made for the container of s.
func readPlan(run string, s state) (*policy.Plan, error) {
	if !filepath.IsAbs(run) {
		return nil, fmt.Errorf("%s is %q in the hook's environment: shimward's shim sets it to the folder of its state", EnvRun, run)
	}
	key := policy.Key(s.ID, s.Bundle)
	path := policy.Paths{Run: run}.Plan(key)
	raw, err := files.Read(path, maxInput)
	if err != nil {
		return nil, fmt.Errorf("read the container's plan: %w", err)
	}
	plan, err := policy.ParsePlan(raw)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	if plan.Identity.Key != key || plan.Paths.Run != run {
		return nil, fmt.Errorf("the plan %s is for %q under %q, not for this container", path, plan.Identity.Key, plan.Paths.Run)
	}
	return plan, nil
}

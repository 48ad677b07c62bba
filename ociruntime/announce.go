package ociruntime

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// announce tells a container's monitor that the container, or an exec in it, is about to be
// started. If nobody answers, nothing is started: its calls would be answered by nobody, or by
// whoever put a socket in the monitor's place.
func announce(ctx context.Context, c *command, paths policy.Paths) error {
	if c.unread != nil {
		return refuseUnread(c, paths)
	}
	plan, err := findPlan(paths, c.root, c.id)
	if err != nil || plan == nil {
		return err
	}
	message := hooks.Message{What: hooks.MessageStart}
	if c.name == "exec" {
		message = hooks.Message{What: hooks.MessageExec, PID: os.Getpid(), Exec: execName(c.pidFile), Args: c.execArgs}
		if c.pidFile != "" {
			message.PIDFile, _ = filepath.Abs(c.pidFile) // fails if the working directory no longer exists
		}
		if raw, err := files.Read(c.process, maxProcess); c.process != "" && err == nil {
			message.Args = container.ProcessArgs(raw)
		}
	}
	if err := hooks.Tell(ctx, plan.Paths, plan.Identity.Key, message); err != nil {
		return fmt.Errorf("%s in container %s: recreate the container: %w", c.name, c.id, err)
	}
	return nil
}

// maxProcess is the maximum size of a process's spec, in bytes.
const maxProcess = 1 << 20

// execName returns the name that events give an exec. runc assigns no IDs; the engines' own are in
// the path of the pid file that they ask for: <ID>.pid for containerd and Docker, <ID>/exec_pid for
// Podman.
func execName(pidFile string) string {
	name := filepath.Base(pidFile)
	switch {
	case pidFile == "":
		return fmt.Sprintf("runc-exec-%d", os.Getpid())
	case name == "exec_pid":
		return filepath.Base(filepath.Dir(pidFile))
	default:
		return strings.TrimSuffix(name, ".pid")
	}
}

// refuseUnread refuses a start or an exec that could not be parsed if one of its words may be the
// ID of a guarded container, as no monitor could be told of it.
func refuseUnread(c *command, paths policy.Paths) error {
	roots := append(rootsIn(c.args), c.root)
	for _, word := range c.args {
		if word == "" || strings.ContainsRune(word, '/') {
			continue // not an ID
		}
		guarded := plansOf(paths, word) != nil
		for _, root := range roots {
			run, _ := createdWith(root, word)
			guarded = guarded || run != ""
		}
		if guarded {
			return fmt.Errorf("runc %s in container %s: %w", c.name, word, c.unread)
		}
	}
	return nil
}

// rootsIn returns the runc state folders that a command line may name, however its other words are
// parsed.
func rootsIn(args []string) []string {
	var roots []string
	for i, word := range args {
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case name != "root" || !strings.HasPrefix(word, "-"):
		case given:
			roots = append(roots, value)
		case i+1 < len(args):
			roots = append(roots, args[i+1])
		}
	}
	return roots
}

// findPlan finds the plan of a container with a monitor by the runtime's state folder. It returns
// nil if the container has none, and an error if the runtime's own state says that the container is
// guarded but there is no plan.
func findPlan(paths policy.Paths, root, id string) (*policy.Plan, error) {
	for _, plan := range plansOf(paths, id) {
		if plan.Monitored && plan.Identity.Namespace == namespaceOf(root) {
			return plan, nil
		}
	}
	// The container may have been created under a config that keeps its state elsewhere.
	run, bundle := createdWith(root, id)
	if run == "" {
		return nil, nil
	}
	paths = policy.Paths{Run: run}
	key := policy.Key(id, bundle)
	plan, err := readPlan(paths, key)
	if err != nil {
		return nil, fmt.Errorf("container %s is guarded, but shimward's state of it in %s is gone or cannot be read: recreate the container: %w", id, paths.Container(key), err)
	}
	if !plan.Monitored {
		return nil, nil // its shim hosts it, and is told by containerd
	}
	return plan, nil
}

// plansOf returns the plans of all containers with an ID, in any namespace and bundle.
func plansOf(paths policy.Paths, id string) []*policy.Plan {
	if id == "" {
		return nil
	}
	// Their keys begin with the start of the ID.
	key := policy.Key(id, "/")
	entries, err := os.ReadDir(filepath.Dir(paths.Container(key)))
	if err != nil {
		return nil
	}
	var plans []*policy.Plan
	prefix := key[:strings.LastIndexByte(key, '-')+1]
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		if plan, err := readPlan(paths, entry.Name()); err == nil && plan.Identity.ID == id {
			plans = append(plans, plan)
		}
	}
	return plans
}

func readPlan(paths policy.Paths, key string) (*policy.Plan, error) {
	raw, err := files.Read(paths.Plan(key), policy.MaxPlanBytes)
	if err != nil {
		return nil, err
	}
	return policy.ParsePlan(raw)
}

// maxState is the maximum size of the state that runc keeps of a container, in bytes.
const maxState = 16 << 20

// createdWith reads from runc's own state of a container (libcontainer.State) its bundle, and where
// the hooks that it was created with find its plan. They are "" if it has no such hooks, or the
// runtime keeps no such state.
func createdWith(root, id string) (run, bundle string) {
	if id == "" {
		return "", ""
	}
	raw, err := files.Read(filepath.Join(root, id, "state.json"), maxState)
	if err != nil {
		return "", ""
	}
	var state struct {
		Config json.RawMessage `json:"config"`
	}
	var config struct {
		Labels []string `json:"labels"`
	}
	if json.Unmarshal(raw, &state) != nil || json.Unmarshal(state.Config, &config) != nil {
		return "", ""
	}
	for _, label := range config.Labels {
		if path, ok := strings.CutPrefix(label, "bundle="); ok {
			bundle = path
		}
	}
	return hooks.RunOf(state.Config), bundle
}

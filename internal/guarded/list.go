// Package guarded lists the guarded containers of a node, with the kernel's counts for each. It
// reads the shim's state and the pins; only ChangeLeases writes, to a container's file of leases.
package guarded

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// Kernel is the part of package bpf that List needs.
type Kernel interface {
	Tier() access.Tier
	Counts(key string) ([]Count, error)
	Armed(key string) (bool, error)
}

// Count is how often one sensor has seen one vector end in one verdict. It is exact, even if events
// were dropped.
type Count struct {
	Vector  access.Vector  `json:"vector"`
	Verdict access.Verdict `json:"verdict"`
	Sensor  access.Sensor  `json:"sensor"`
	Count   uint64         `json:"count"`
}

// State is the state of a container's guard.
type State string

// The states.
const (
	StateWaiting State = "waiting" // its init has not executed the user's program yet
	StateArmed   State = "armed"   // its processes are guarded
	StateGone    State = "gone"    // there are files, but nothing in the kernel: it has ended, or is being created or deleted
)

// Container is a guarded container.
type Container struct {
	policy.Identity
	Mode    policy.Mode `json:"mode"`
	Profile string      `json:"profile"`
	Policy  string      `json:"policy"` // the Plan's digest
	Tier    access.Tier `json:"tier"`
	State   State       `json:"state"`
	Counts  []Count     `json:"counts"`
}

// Total returns the number of accesses with a verdict. An access seen by several sensors is counted
// by each of them, so for each vector Total takes the count of the sensor that saw most.
func (c *Container) Total(verdict access.Verdict) uint64 {
	most := make(map[access.Vector]uint64)
	for _, count := range c.Counts {
		if count.Verdict == verdict {
			most[count.Vector] = max(most[count.Vector], count.Count)
		}
	}
	var total uint64
	for _, count := range most {
		total += count
	}
	return total
}

// Plans returns the plan of each of the node's guarded containers.
func Plans(paths policy.Paths) ([]*policy.Plan, error) {
	folders, err := os.ReadDir(filepath.Dir(paths.Container("any")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the guarded containers: %w", err)
	}
	var plans []*policy.Plan
	for _, folder := range folders {
		plan, err := readPlan(paths.Plan(folder.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

// Find returns the plan of the one container that name identifies: the start of its ID, its name,
// its pod's name, or NAMESPACE/POD. It is an error if no container matches, or more than one.
func Find(paths policy.Paths, name string) (*policy.Plan, error) {
	plans, err := Plans(paths)
	if err != nil {
		return nil, err
	}
	var found []*policy.Plan
	for _, plan := range plans {
		i := &plan.Identity
		if strings.HasPrefix(i.ID, name) || i.Name == name || i.Pod != "" && (i.Pod == name || i.PodNamespace+"/"+i.Pod == name) {
			found = append(found, plan)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no guarded container is called %q (see \"shimward ps\")", name)
	case 1:
		return found[0], nil
	default:
		return nil, fmt.Errorf("%d guarded containers are called %q: write more of an ID, such as %s", len(found), name, found[0].Identity.ID)
	}
}

// List returns the node's guarded containers, sorted by pod namespace, pod, name and ID. kernel is
// nil if none of shimward's programs are loaded. A container whose plan disappears meanwhile is
// left out; a container whose state cannot be read is an error.
func List(paths policy.Paths, kernel Kernel) ([]Container, error) {
	plans, err := Plans(paths)
	if err != nil {
		return nil, err
	}
	var containers []Container
	for _, plan := range plans {
		container := Container{
			Identity: plan.Identity, Mode: plan.Mode, Profile: plan.Profile, Policy: plan.Digest,
			State: StateGone, Counts: []Count{},
		}
		if kernel != nil {
			if err := container.ask(kernel); err != nil {
				return nil, err
			}
		}
		containers = append(containers, container)
	}
	slices.SortFunc(containers, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.PodNamespace, b.PodNamespace), cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return containers, nil
}

func (c *Container) ask(kernel Kernel) error {
	c.Tier = kernel.Tier()
	armed, err := kernel.Armed(c.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	counts, err := kernel.Counts(c.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	c.State = StateWaiting
	if armed {
		c.State = StateArmed
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Vector, b.Vector), cmp.Compare(a.Verdict, b.Verdict), cmp.Compare(a.Sensor, b.Sensor))
	})
	c.Counts = append(c.Counts, counts...)
	return nil
}

func readPlan(path string) (*policy.Plan, error) {
	content, err := files.Read(path, policy.MaxPlanBytes)
	if err != nil {
		return nil, fmt.Errorf("read a container's plan: %w", err)
	}
	plan, err := policy.ParsePlan(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return plan, nil
}

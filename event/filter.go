package event

import (
	"slices"
	"strings"
	"time"
)

// Filter selects the events to show. The zero Filter selects all.
type Filter struct {
	// Container is a prefix of a container's ID, a container's name, a pod's name, or
	// NAMESPACE/POD. An access also matches by its target's ID.
	Container string
	Severity  Severity  // this one and above; an unknown one filters nothing
	Kinds     []Kind    // empty means all
	Since     time.Time // events before it are left out
}

// Matches reports whether the filter selects e.
func (f *Filter) Matches(e *Event) bool {
	switch {
	case len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind):
		return false
	case f.Severity != "" && e.Severity.rank() < f.Severity.rank():
		return false
	case !f.Since.IsZero() && e.Time.Before(f.Since):
		return false
	}
	return f.Container == "" || f.about(e)
}

func (f *Filter) about(e *Event) bool {
	container := &e.Container
	switch f.Container {
	case container.Name, container.Pod:
		return true
	case container.PodNamespace + "/" + container.Pod:
		return container.Pod != "" // outside Kubernetes both are empty, and "/" must not match
	}
	return strings.HasPrefix(container.ID, f.Container) ||
		e.Access != nil && strings.HasPrefix(e.Access.Target.Container, f.Container)
}

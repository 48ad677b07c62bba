package event

import (
	"slices"
	"strings"
	"time"
)

// Filter says which events to show. The zero Filter shows all.
type Filter struct {
	// Container is the start of a container's ID, a container's name, a pod's
	// name, or NAMESPACE/POD. An access is shown for its target's ID as well.
	Container string
	Severity  Severity  // this and above; one that is unknown filters nothing
	Kinds     []Kind    // none is all
	Since     time.Time // no earlier ones
}

// Matches says whether to show e.
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
		return container.Pod != "" // outside Kubernetes both are empty, and "/" names nothing
	}
	return strings.HasPrefix(container.ID, f.Container) ||
		e.Access != nil && strings.HasPrefix(e.Access.Target.Container, f.Container)
}

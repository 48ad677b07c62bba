package guarded

import (
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
)

// InEvents converts an Identity to the form in which events name a container.
func InEvents(i *policy.Identity) event.Container {
	return event.Container{
		ID: i.ID, Namespace: i.Namespace, Name: i.Name, Image: i.Image,
		Pod: i.Pod, PodNamespace: i.PodNamespace, PodUID: i.PodUID,
	}
}

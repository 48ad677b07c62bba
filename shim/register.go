package shim

import (
	"errors"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// Register registers the task service for RunShim. It replaces upstream's task/plugin, which
// registers the same ID and is not imported.
func Register() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   initialize,
	})
}

func initialize(ic *plugin.InitContext) (any, error) {
	p, err := ic.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	s, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	publisher, ok := p.(containerdshim.Publisher)
	if !ok {
		return nil, errors.New("containerd's event publisher is of another type than shimward was built for")
	}
	sd, ok := s.(shutdown.Service)
	if !ok {
		return nil, errors.New("containerd's shutdown service is of another type than shimward was built for")
	}
	return newService(ic.Context, publisher, sd, task.NewTaskService)
}

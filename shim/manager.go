package shim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/shimward/shimward/container"
)

// Runtime is the runtime's type, as containerd's config and ctr name it.
const Runtime = "io.containerd.shimward.v1"

// Manager is runc's shim manager with shimward's part added: options that CRI
// hands to foreign runtimes are translated, and `delete` releases what
// shimward owns of a container whose shim died.
type Manager struct {
	containerdshim.Shim
}

// NewManager returns the manager that containerd's RunShim takes.
func NewManager() Manager {
	return Manager{Shim: manager.NewShimManager(Runtime)}
}

// Start starts the shim of a container or a pod, or finds the pod's.
func (m Manager) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	debug.SetGCPercent(-1) // this process ends with it
	for _, extension := range params.GetExtensions() {
		if !extension.GetValue().MessageIs(&runtimeoptions.Options{}) {
			continue
		}
		translated, err := translate(extension.GetValue())
		if err != nil {
			return nil, err
		}
		extension.Value = translated
	}
	return m.Shim.Start(ctx, params)
}

// Info tells containerd about the runtime below: its features decide what CRI asks of it.
func (m Manager) Info(ctx context.Context, optionsR io.Reader) (*types.RuntimeInfo, error) {
	raw, err := io.ReadAll(io.LimitReader(optionsR, maxOptions))
	if err != nil {
		return nil, fmt.Errorf("read the runtime's options: %w", err)
	}
	if len(raw) > 0 {
		var given anypb.Any
		if err := proto.Unmarshal(raw, &given); err != nil {
			return nil, fmt.Errorf("read the runtime's options: %w", err)
		}
		translated, err := translate(&given)
		if err != nil {
			return nil, err
		}
		raw = nil
		if translated != nil {
			if raw, err = proto.Marshal(translated); err != nil {
				return nil, fmt.Errorf("write runc's options: %w", err)
			}
		}
	}
	return m.Shim.Info(ctx, bytes.NewReader(raw))
}

// Stop is the `delete` command: containerd runs it in the bundle when a shim is
// gone, however it went, or never came up. The container is killed and deleted
// first, so nothing of it runs unguarded when its guard goes.
func (m Manager) Stop(ctx context.Context, id string) (containerdshim.StopStatus, error) {
	status, err := m.Shim.Stop(ctx, id)
	bundle, bundleErr := stoppedBundle(ctx, id)
	if bundleErr != nil {
		return status, fmt.Errorf("find the bundle of %s: %w", id, bundleErr)
	}
	if err != nil {
		return status, err
	}
	container.ReleaseDead(ctx, id, bundle, container.Exit{PID: status.Pid, Code: status.ExitStatus})
	return status, nil
}

// stoppedBundle is the bundle that `delete` is about: the -bundle flag, or
// where upstream's manager looks for it, beside the working directory.
func stoppedBundle(ctx context.Context, id string) (string, error) {
	if opts, ok := ctx.Value(containerdshim.OptsKey{}).(containerdshim.Opts); ok && filepath.Base(opts.BundlePath) == id {
		return container.RealBundle(opts.BundlePath)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return container.RealBundle(filepath.Join(filepath.Dir(cwd), id))
}

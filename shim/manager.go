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

// Runtime is the runtime's type, as named in containerd's config and in ctr's arguments.
const Runtime = "io.containerd.shimward.v1"

// Manager is runc's shim manager with shimward's additions: it translates the options that CRI
// passes to foreign runtimes, and its `delete` releases what shimward owns of a container whose
// shim died.
type Manager struct {
	containerdshim.Shim
}

// NewManager returns the manager for containerd's RunShim.
func NewManager() Manager {
	return Manager{Shim: manager.NewShimManager(Runtime)}
}

// Start starts the shim of a container or a pod, or finds the one that the pod already has.
func (m Manager) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	debug.SetGCPercent(-1) // this process ends after the call
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

// Info describes the underlying runtime to containerd; its features decide what CRI requests of it.
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

// Stop implements the `delete` command, which containerd runs in the bundle if a shim is gone for
// any reason, or never came up. The container is killed and deleted first, so that none of its
// processes runs unguarded after its guard is released.
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

// stoppedBundle returns the bundle that `delete` is about: the -bundle flag or, as in upstream's
// manager, the folder with the container's ID next to the working directory.
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

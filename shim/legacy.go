package shim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/atomicfile"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// starter is the part of a shim manager that startLegacy calls.
type starter interface {
	Start(context.Context, *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error)
}

// addressFile is the file in a shim's bundle where containerd 1.x finds the shim's address after a
// restart. The shim has to write it.
const addressFile = "address"

// dialTimeout limits the connection to a shim that has just been started.
const dialTimeout = 10 * time.Second

// startLegacy serves `start` for a containerd before 2.3, and reports whether that is what was
// requested. Those versions pass flags, and the runtime's options on standard input, where later
// versions pass bootstrap parameters, the only form that RunShim accepts. If it serves nothing, it
// leaves standard input unread for RunShim, which serves everything else.
func startLegacy(ctx context.Context, manager starter, invoked Invocation) (served bool, err error) {
	params, ok := legacyFlags(invoked.Args)
	if !ok {
		return false, nil
	}
	input, err := io.ReadAll(io.LimitReader(invoked.Stdin, maxOptions))
	if err != nil {
		return false, fmt.Errorf("read containerd's request: %w", err)
	}
	if isBootstrap(input, params) {
		return false, putBack(invoked.Stdin, input)
	}
	params.ContainerdTtrpcAddress = invoked.Getenv("TTRPC_ADDRESS")
	if len(input) > 0 {
		var options anypb.Any
		if err := proto.Unmarshal(input, &options); err != nil {
			return true, fmt.Errorf("read the runtime's options: %w", err)
		}
		if err := params.AddExtension(&options); err != nil {
			return true, fmt.Errorf("read the runtime's options: %w", err)
		}
	}
	ctx = namespaces.WithNamespace(ctx, params.GetNamespace())
	result, err := manager.Start(ctx, params)
	if err != nil {
		return true, err
	}
	if err := writeAddress(result.GetAddress()); err != nil {
		err = fmt.Errorf("write the shim's address for containerd: %w", err)
		return true, errors.Join(err, shutDown(ctx, result.GetAddress(), params.GetInstanceID()))
	}
	// A bare address stands for version 2 of the task service over ttrpc, which every containerd
	// since 1.3 supports.
	_, err = io.WriteString(invoked.Stdout, result.GetAddress())
	return true, err
}

// legacyFlags parses RunShim's flags, and reports whether they request a start.
func legacyFlags(args []string) (*bootapi.BootstrapParams, bool) {
	params := &bootapi.BootstrapParams{LogLevel: bootapi.LogLevel_LOG_LEVEL_INFO}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // RunShim reports errors
	flags.StringVar(&params.InstanceID, "id", "", "")
	flags.StringVar(&params.Namespace, "namespace", "", "")
	flags.StringVar(&params.ContainerdGrpcAddress, "address", "", "")
	flags.StringVar(&params.ContainerdBinary, "publish-binary", "", "")
	debug := flags.Bool("debug", false, "")
	for _, other := range []string{"v", "version", "info"} {
		flags.Bool(other, false, "")
	}
	for _, other := range []string{"socket", "debug-socket", "bundle"} {
		flags.String(other, "", "")
	}
	if err := flags.Parse(args); err != nil || flags.Arg(0) != "start" || params.GetNamespace() == "" {
		return nil, false
	}
	if *debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	return params, true
}

// isBootstrap distinguishes bootstrap parameters from a runtime's options, which can also be parsed
// as parameters: only real parameters have the same ID and namespace as the flags.
func isBootstrap(input []byte, flags *bootapi.BootstrapParams) bool {
	var params bootapi.BootstrapParams
	return len(input) > 0 && proto.Unmarshal(input, &params) == nil &&
		params.GetInstanceID() == flags.GetInstanceID() && params.GetNamespace() == flags.GetNamespace()
}

// putBack replaces stdin by a memfd with input, so that the next reader reads again what was read
// from the pipe.
func putBack(stdin *os.File, input []byte) (err error) {
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("put back containerd's request: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "stdin")
	defer func() { err = errors.Join(err, memory.Close()) }()
	if _, err := memory.Write(input); err != nil {
		return fmt.Errorf("put back containerd's request: %w", err)
	}
	if _, err := memory.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("put back containerd's request: %w", err)
	}
	if err := unix.Dup3(fd, int(stdin.Fd()), 0); err != nil {
		return fmt.Errorf("put back containerd's request: %w", err)
	}
	return nil
}

// writeAddress writes the bundle's address file; the bundle is the working directory.
func writeAddress(address string) error {
	path, err := filepath.Abs(addressFile)
	if err != nil {
		return err
	}
	f, err := atomicfile.New(path, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, address); err != nil {
		return errors.Join(err, f.Cancel())
	}
	return f.Close()
}

// shutDown ends a shim that containerd will not connect to, unless the shim serves other containers
// of its pod.
func shutDown(ctx context.Context, address, id string) (err error) {
	connection, err := containerdshim.AnonDialer(address, dialTimeout)
	if err != nil {
		return fmt.Errorf("connect to the shim: %w", err)
	}
	client := ttrpc.NewClient(connection)
	defer func() { err = errors.Join(err, client.Close()) }()
	if _, err := task.NewTTRPCTaskClient(client).Shutdown(ctx, &task.ShutdownRequest{ID: id}); err != nil {
		return fmt.Errorf("end the shim: %w", err)
	}
	return nil
}

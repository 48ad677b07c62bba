package shim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// noted is a manager that records how it is called.
type noted struct {
	params    *bootapi.BootstrapParams
	namespace string
	address   string // "" for an address without a shim
	fail      error
}

func (n *noted) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	n.params = params
	n.namespace, _ = namespaces.Namespace(ctx)
	return &bootapi.BootstrapResult{Version: 3, Address: cmp.Or(n.address, "unix:///run/s/1"), Protocol: "ttrpc"}, n.fail
}

// startArgs returns the flags that every containerd since 1.6 passes.
func startArgs(more ...string) []string {
	args := []string{"-namespace", "k8s.io", "-address", "/run/c.sock", "-publish-binary", "/bin/containerd", "-id", "a"}
	return append(append(args, more...), "start")
}

// pipe returns the read end of a pipe that contains input.
func pipe(t *testing.T, input []byte) *os.File {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	if _, err := writer.Write(input); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return reader
}

func marshal(t *testing.T, message proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func invoke(t *testing.T, manager starter, stdin *os.File, args []string) (served bool, stdout string, err error) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out bytes.Buffer
	served, err = startLegacy(t.Context(), manager, Invocation{
		Args: args, Stdin: stdin, Stdout: &out,
		Getenv: func(name string) string { return map[string]string{"TTRPC_ADDRESS": "/run/c.sock.ttrpc"}[name] },
	})
	return served, out.String(), err
}

// A containerd before 2.3 must get an address, and find it in the bundle after a restart.
func TestStartLegacy(t *testing.T) {
	packed := marshal(t, pack(t, &options.Options{SystemdCgroup: true}))
	for name, test := range map[string]struct {
		args  []string
		input []byte
		level bootapi.LogLevel
	}{
		"without options": {startArgs(), nil, bootapi.LogLevel_LOG_LEVEL_INFO},
		"with options":    {startArgs(), packed, bootapi.LogLevel_LOG_LEVEL_INFO},
		"debug":           {startArgs("-debug"), packed, bootapi.LogLevel_LOG_LEVEL_DEBUG},
	} {
		t.Run(name, func(t *testing.T) {
			var manager noted
			served, stdout, err := invoke(t, &manager, pipe(t, test.input), test.args)
			if err != nil || !served || stdout != "unix:///run/s/1" {
				t.Fatalf("served %v, %q, %v", served, stdout, err)
			}
			if written, err := os.ReadFile("address"); err != nil || string(written) != stdout {
				t.Errorf("the bundle has the address %q, %v", written, err)
			}
			want := &bootapi.BootstrapParams{
				InstanceID: "a", Namespace: "k8s.io", LogLevel: test.level, ContainerdBinary: "/bin/containerd",
				ContainerdGrpcAddress: "/run/c.sock", ContainerdTtrpcAddress: "/run/c.sock.ttrpc",
			}
			if test.input != nil {
				if err := want.AddExtension(pack(t, &options.Options{SystemdCgroup: true})); err != nil {
					t.Fatal(err)
				}
			}
			if !proto.Equal(manager.params, want) || manager.namespace != "k8s.io" {
				t.Errorf("in %s the manager got %v, want %v", manager.namespace, manager.params, want)
			}
		})
	}
}

// Everything but a legacy start must be left to RunShim, with all of its input.
func TestStartLegacyElsewhere(t *testing.T) {
	params := marshal(t, &bootapi.BootstrapParams{InstanceID: "a", Namespace: "k8s.io", ContainerdVersion: "2.4.2"})
	for name, test := range map[string]struct {
		args  []string
		input []byte
	}{
		"bootstrap parameters": {startArgs(), params},
		"delete":               {slices.Concat(startArgs()[:8], []string{"-bundle", "/b", "delete"}), nil},
		"info":                 {[]string{"-info"}, marshal(t, pack(t, &options.Options{}))},
		"the shim itself":      {startArgs()[:8], nil},
		"no namespace":         {[]string{"start"}, nil},
		"an unknown flag":      {startArgs("-later"), []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			var manager noted
			stdin := pipe(t, test.input)
			served, stdout, err := invoke(t, &manager, stdin, test.args)
			if err != nil || served || stdout != "" || manager.params != nil {
				t.Errorf("served %v, %q, %v", served, stdout, err)
			}
			if rest, err := io.ReadAll(stdin); err != nil || !bytes.Equal(rest, test.input) {
				t.Errorf("RunShim reads %q, %v, want %q", rest, err, test.input)
			}
		})
	}
}

// A failure must be reported as an error, without an address to connect to.
func TestStartLegacyFails(t *testing.T) {
	broken := errors.New("no shim")
	for name, test := range map[string]struct {
		input []byte
		fail  error
	}{
		"the manager":        {nil, broken},
		"what is no options": {[]byte("\xff\xff"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			served, stdout, err := invoke(t, &noted{fail: test.fail}, pipe(t, test.input), startArgs())
			if err == nil || !served || stdout != "" {
				t.Errorf("served %v, %q, %v", served, stdout, err)
			}
			if test.fail != nil && !errors.Is(err, test.fail) {
				t.Error(err)
			}
		})
	}
}

// ended is a task service that records that it was shut down.
type ended struct {
	fakeTasks

	id string
}

func (e *ended) Shutdown(_ context.Context, r *task.ShutdownRequest) (*emptypb.Empty, error) {
	e.id = r.GetID()
	return &emptypb.Empty{}, nil
}

// A shim that containerd could not find again must not be left running.
func TestStartLegacyUnwritable(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	var tasks ended
	task.RegisterTTRPCTaskService(server, &tasks)
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(t.Context(), listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-serving; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Chdir(t.TempDir())
	if err := os.Mkdir("address", 0o700); err != nil { // no file can replace a folder
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	served, err := startLegacy(t.Context(), &noted{address: "unix://" + listener.Addr().String()}, Invocation{
		Args: startArgs(), Stdin: pipe(t, nil), Stdout: &stdout, Getenv: func(string) string { return "" },
	})
	if err == nil || !served || stdout.Len() > 0 {
		t.Errorf("served %v, %q, %v", served, &stdout, err)
	}
	if tasks.id != "a" {
		t.Errorf("the shim was not shut down: %v", err)
	}
}

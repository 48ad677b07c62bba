package shim

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventstypes "github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// fakeTasks is an embedded service that records how it is called.
type fakeTasks struct {
	task.TTRPCTaskService

	spec    []byte // config.json at Create
	fail    error
	created int
	deleted int
	hold    chan struct{} // if set, Create blocks until it is closed
	held    chan struct{} // closed by a Create that blocks
	during  func() error  // if set, Create calls it and returns its error
}

func (f *fakeTasks) Create(_ context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	f.created++
	var err error
	if f.spec, err = os.ReadFile(filepath.Join(r.GetBundle(), "config.json")); err != nil {
		return nil, err
	}
	if f.hold != nil {
		close(f.held)
		<-f.hold
	}
	if f.during != nil {
		return nil, f.during()
	}
	return &task.CreateTaskResponse{Pid: 4194304}, f.fail // beyond the kernel's largest pid
}

func (f *fakeTasks) Delete(context.Context, *task.DeleteRequest) (*task.DeleteResponse, error) {
	f.deleted++
	return &task.DeleteResponse{}, nil
}

// fixture is a service with a config and paths of its own.
type fixture struct {
	service *service
	inner   *fakeTasks
	paths   policy.Paths
	bundle  string
	ctx     context.Context //nolint:containedctx // the test's own
}

// bundleWith creates a bundle with this config.json.
func bundleWith(t *testing.T, config string) string {
	t.Helper()
	bundle := t.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return bundle
}

const plainSpec = `{"ociVersion":"1.2.0","process":{"args":["/bin/true"]},"annotations":{"a":"<&>"},"root":{"path":"rootfs"}, "later": 1.0}`

func newFixture(t *testing.T, config, spec string) *fixture {
	t.Helper()
	dir := testenv.ShortDir(t)
	f := &fixture{
		inner:  &fakeTasks{},
		paths:  policy.Paths{Run: filepath.Join(dir, "run"), BPF: filepath.Join(dir, "bpf"), Log: filepath.Join(dir, "log")},
		bundle: bundleWith(t, spec),
		ctx:    namespaces.WithNamespace(t.Context(), "test"),
	}
	file := filepath.Join(dir, "config.toml")
	text := "version = 1\n" + config + "\n[paths]\nrun = \"" + f.paths.Run + "\"\nbpf = \"" + f.paths.BPF + "\"\nlog = \"" + f.paths.Log + "\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(nodeconfig.Env, file)
	ctx, sd := shutdown.WithShutdown(f.ctx)
	t.Cleanup(sd.Shutdown)
	service, err := newService(ctx, nil, sd, func(context.Context, containerdshim.Publisher, shutdown.Service) (task.TTRPCTaskService, error) {
		return f.inner, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.service = service
	f.service.checkNode = func(policy.Paths) error { return nil }
	f.service.executable = filepath.Join(dir, "bin", "containerd-shim-shimward-v1")
	f.service.reconcile = func() {} // it has a test of its own
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", container.HookBinary), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) create() error {
	_, err := f.service.Create(f.ctx, &task.CreateTaskRequest{ID: "c", Bundle: f.bundle})
	return err
}

// wantNothing fails the test if anything is left of a container that was not created.
func (f *fixture) wantNothing(t *testing.T, spec string) {
	t.Helper()
	for _, folder := range []string{filepath.Join(f.paths.Run, "containers"), f.paths.Log} {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, entry := range entries {
			t.Errorf("left %s in %s", entry.Name(), folder)
		}
	}
	now, err := os.ReadFile(filepath.Join(f.bundle, "config.json"))
	if err != nil || string(now) != spec {
		t.Errorf("the spec is now %s, %v", now, err)
	}
	if f.service.get("c") != nil {
		t.Error("the container is still known")
	}
}

func TestCreateOffTouchesNothing(t *testing.T) {
	f := newFixture(t, `default_mode = "off"`, plainSpec)
	before, err := os.Stat(filepath.Join(f.bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(f.bundle, "config.json"))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the spec was written anew: %v", err)
	}
	if string(f.inner.spec) != plainSpec || f.inner.created != 1 {
		t.Errorf("the runtime got %s", f.inner.spec)
	}
	f.wantNothing(t, plainSpec)
	if _, err := os.Stat(f.paths.Run); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made %s", f.paths.Run)
	}
}

func TestCreateUnwinds(t *testing.T) {
	t.Run("the runtime fails", func(t *testing.T) {
		f := newFixture(t, "", plainSpec)
		f.inner.fail = status.Error(codes.Unknown, "hook says: no")
		err := f.create()
		if status.Convert(err).Message() != "hook says: no" {
			t.Errorf("got %v", err)
		}
		if !bytes.Contains(f.inner.spec, []byte(`"create-runtime"`)) || !bytes.Contains(f.inner.spec, []byte(`"listenerPath"`)) {
			t.Errorf("the runtime got %s", f.inner.spec)
		}
		f.wantNothing(t, plainSpec)
	})
	t.Run("the hook has enrolled nothing", func(t *testing.T) {
		f := newFixture(t, "", plainSpec)
		if err := f.create(); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("got %v", err)
		}
		if f.inner.deleted != 1 {
			t.Errorf("the created container was deleted %d times", f.inner.deleted)
		}
		f.wantNothing(t, plainSpec)
	})
}

// The shim answers the hooks of a container that it is creating, and what it says reaches the caller.
func TestCreateAnswersHooks(t *testing.T) {
	testenv.Root(t) // the shim answers nobody else
	f := newFixture(t, "", plainSpec)
	bundle, err := filepath.EvalSymlinks(f.bundle)
	if err != nil {
		t.Fatal(err)
	}
	f.inner.during = func() error {
		state := &hooks.State{ID: "c", PID: os.Getpid(), Bundle: bundle}
		err := hooks.Tell(f.ctx, f.paths, policy.Key("c", bundle), hooks.Message{What: hooks.MessageCreated, State: state})
		return status.Error(codes.Unknown, err.Error())
	}
	if err := f.create(); err == nil || !strings.Contains(err.Error(), "load shimward's programs") || !strings.Contains(err.Error(), "is not on a BPF file system") {
		t.Errorf("got %v", err)
	}
	f.wantNothing(t, plainSpec)
}

// A caller that gives up on a Create immediately deletes what it had requested.
func TestDeleteDuringCreate(t *testing.T) {
	f := newFixture(t, "", plainSpec)
	f.inner.hold, f.inner.held = make(chan struct{}), make(chan struct{})
	created, deleted := make(chan error, 1), make(chan error, 1)
	go func() { created <- f.create() }()
	<-f.inner.held

	impatient, cancel := context.WithCancel(f.ctx)
	cancel()
	request := &task.DeleteRequest{ID: "c"}
	if _, err := f.service.Delete(impatient, request); status.Code(err) != codes.Canceled || !strings.Contains(err.Error(), "still being created") {
		t.Errorf("delete: %v", err)
	}
	if _, err := f.service.Start(impatient, &task.StartRequest{ID: "c"}); status.Code(err) != codes.Canceled {
		t.Errorf("start: %v", err)
	}
	if err := f.create(); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a second create: %v", err)
	}
	if f.inner.deleted != 0 || f.inner.created != 1 {
		t.Errorf("the runtime was asked to create %d, to delete %d", f.inner.created, f.inner.deleted)
	}

	go func() {
		_, err := f.service.Delete(f.ctx, request)
		deleted <- err
	}()
	close(f.inner.hold)
	if err := <-created; status.Code(err) != codes.FailedPrecondition { // the hook has enrolled nothing
		t.Errorf("create: %v", err)
	}
	if err := <-deleted; err != nil {
		t.Errorf("delete: %v", err)
	}
	if f.inner.deleted != 2 { // by Create's unwinding, and after it
		t.Errorf("the runtime was asked to delete %d times", f.inner.deleted)
	}
	f.wantNothing(t, plainSpec)
}

func TestCreateRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config, spec string
		change       func(*fixture)
		code         codes.Code
		want         string
	}{
		"an unknown annotation": {
			spec: `{"annotations":{"shimward.dev/mod":"off"}}`, code: codes.InvalidArgument, want: "shimward.dev/mod",
		},
		"a profile that is not there": {
			spec: `{"annotations":{"shimward.dev/profile":"x"}}`, code: codes.InvalidArgument, want: "no such profile",
		},
		"below the floor": {
			config: "[[floor]]\nnamespaces = [\"*\"]\nmode = \"enforce\"\n",
			spec:   `{"annotations":{"shimward.dev/mode":"off"}}`, code: codes.InvalidArgument, want: "below what this node's config requires",
		},
		"garbage for a config": {config: "[[[", spec: `{}`, code: codes.FailedPrecondition, want: "config.toml"},
		"garbage for a spec":   {spec: `{`, code: codes.InvalidArgument, want: "parse"},
		"a listener of its own": {
			spec: `{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}}}`,
			code: codes.FailedPrecondition, want: "listener",
		},
		"hooks that are no list": {spec: `{"hooks":{"createRuntime":7}}`, code: codes.FailedPrecondition, want: "hooks"},
		"no hook binary": {spec: `{}`, code: codes.FailedPrecondition, want: "is missing: install it beside", change: func(f *fixture) {
			f.service.executable = "/nonexistent/shim"
		}},
		"no bpffs": {spec: `{}`, code: codes.FailedPrecondition, want: "mount -t bpf bpf", change: func(f *fixture) {
			f.service.checkNode = container.CheckNode
		}},
		"no bundle": {spec: `{}`, code: codes.InvalidArgument, want: "find the bundle", change: func(f *fixture) {
			f.bundle += "/nonexistent"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.config, test.spec)
			bundle := f.bundle
			if test.change != nil {
				test.change(f)
			}
			err := f.create()
			s := status.Convert(err)
			if err == nil || s.Code() != test.code || !strings.Contains(s.Message(), test.want) || !strings.HasPrefix(s.Message(), "shimward: ") {
				t.Errorf("got %v, want %v with %q", err, test.code, test.want)
			}
			if f.inner.created != 0 {
				t.Error("it reached the runtime")
			}
			f.bundle = bundle
			f.wantNothing(t, test.spec)
		})
	}
	t.Run("a checkpoint", func(t *testing.T) {
		f := newFixture(t, "", plainSpec)
		_, err := f.service.Create(f.ctx, &task.CreateTaskRequest{ID: "c", Bundle: f.bundle, Checkpoint: "/c"})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "checkpoint") {
			t.Errorf("got %v", err)
		}
		f.wantNothing(t, plainSpec)
	})
	t.Run("no containerd namespace", func(t *testing.T) {
		f := newFixture(t, "", plainSpec)
		f.ctx = t.Context()
		if err := f.create(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
	t.Run("options that nobody knows", func(t *testing.T) {
		f := newFixture(t, "", plainSpec)
		_, err := f.service.Create(f.ctx, &task.CreateTaskRequest{
			ID: "c", Bundle: f.bundle, Options: pack(t, &runtimeoptions.Options{ConfigBody: []byte("x = 1")}),
		})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `"x" is not an option`) {
			t.Errorf("got %v", err)
		}
		f.wantNothing(t, plainSpec)
	})
}

// An exit is recorded once, whether it is published first or its process is deleted first.
func TestExitsGoToTheirContainer(t *testing.T) {
	f := newFixture(t, "", plainSpec)
	var seen []string
	publisher := watched{Publisher: discard{}, exited: func(e *eventstypes.TaskExit) { seen = append(seen, e.GetID()) }}
	for _, e := range []any{&eventstypes.TaskExit{ContainerID: "c", ID: "c"}, &eventstypes.TaskStart{}, &eventstypes.TaskExit{ContainerID: "c", ID: "e"}} {
		if err := publisher.Publish(f.ctx, "", e); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(seen, " ") != "c e" {
		t.Errorf("saw %v", seen)
	}
	f.service.exited(&eventstypes.TaskExit{ContainerID: "nobody's", ID: "x"})
}

type discard struct{ containerdshim.Publisher }

func (discard) Publish(context.Context, string, events.Event) error { return nil }

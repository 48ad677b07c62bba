package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// TestShapes checks that containers of every shape are guarded, record what they run, and leave
// nothing.
func TestShapes(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	marks := t.TempDir()
	for name, spec := range map[string]node.Spec{
		"read-only":         {Options: []oci.SpecOpts{oci.WithRootFSReadonly()}},
		"host-network":      {Options: []oci.SpecOpts{oci.WithHostNamespace(specs.NetworkNamespace)}},
		"host-pid":          {HostPID: true},
		"host-ipc-uts":      {Options: []oci.SpecOpts{oci.WithHostNamespace(specs.IPCNamespace), oci.WithHostNamespace(specs.UTSNamespace)}},
		"privileged":        {Privileged: true},
		"runtime-default":   {DefaultSeccomp: true},
		"deny-list":         {Options: []oci.SpecOpts{withDenyList}},
		"non-root":          {User: "65534:65534"},
		"no-new-privileges": {User: "65534:65534", Options: []oci.SpecOpts{oci.WithNoNewPrivileges}},
		"new-privileges":    {Options: []oci.SpecOpts{oci.WithNewPrivileges}},
		"cgroup-path":       {Options: []oci.SpecOpts{oci.WithCgroup(filepath.Join(n.CgroupParent(), "kubepods.slice", "kubepods-pod1.slice", "cri-containerd-1.scope"))}},
		"cgroup-namespace":  {Options: []oci.SpecOpts{oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace})}},
		"user-namespace":    {Options: []oci.SpecOpts{withUserNamespace}},
		"hooks":             {Options: []oci.SpecOpts{withMarkingHooks(marks)}},
		"little-cpu":        {Options: []oci.SpecOpts{oci.WithCPUCFS(5000, 100000)}},
		"long-argument":     {Args: []string{"/bin/sh", "-c", "sleep 1000000 # " + strings.Repeat("x", 5000)}},
		"no-capabilities":   {Options: []oci.SpecOpts{oci.WithCapabilities(nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			spec.ID, spec.Runtime, spec.Annotations = "shape-"+name, node.Shimward, enforceStrict()
			if spec.Args == nil {
				spec.Args = []string{"/bin/sleep", "1000000"}
			}
			c, err := n.RunDetached(ctx, spec)
			if err != nil {
				t.Fatal(err)
			}
			wantGuarded(t, n, c, "x-"+name, true)
			if err := c.Delete(ctx); err != nil {
				t.Error(err)
			}
			wantSaid(t, n, c.ID, spec.Args)
		})
	}
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		if _, err := os.Stat(filepath.Join(marks, kind)); err != nil {
			t.Errorf("somebody else's %s hook did not run: %v", kind, err)
		}
	}
	removeCgroupFolders(t, n)
	wantSettled(t, n)
}

// TestTerminal tests a container with a terminal, as `kubectl run -t` creates it.
func TestTerminal(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	args := []string{"/bin/shimward", "emulate", "--json", "--spawn", "--timeout=3m", "proc-mem-read"}
	command := append([]string{
		n.Tool(ctx, "ctr").Path, "run", "--rm", "--tty", "--runtime", node.Shimward, "--annotation", annotationMode + "=enforce",
		"--annotation", annotationProfile + "=strict", node.Image, "terminal",
	}, args...)
	testenv.Program(t, "script")
	out, err := n.Tool(ctx, "script", "-qec", strings.Join(command, " "), "/dev/null").Output()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	at := strings.Index(string(out), "{")
	if at < 0 {
		t.Fatalf("ctr said %s", out)
	}
	if r := report(t, node.Result{Stdout: string(out)[at:]}).Results[0]; r.Through() {
		t.Error(tell(r))
	}
	events := accesses(t, n, "terminal")
	if len(events) != 1 {
		t.Errorf("want one event:\n%s", describe(events))
	}
	wantSettled(t, n)
}

// wantSaid checks that the records of a container's life name what was started, and have no notice.
func wantSaid(t *testing.T, n *node.Node, id string, args []string) {
	t.Helper()
	events, err := n.Events(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		switch e.Kind {
		case event.KindStarted, event.KindExited:
			if e.Process.Origin.Kind == "entrypoint" && (!strings.HasPrefix(strings.Join(args, " "), e.Process.Cmdline) || e.Process.Comm != filepath.Base(args[0])) {
				t.Errorf("%s says that %s (%q) ran, not %.99q", e.Kind, e.Process.Comm, e.Process.Cmdline, args)
			}
		case event.KindNotice:
			t.Errorf("a notice: %s", e.Message)
		case event.KindAccess:
			if e.Access.Actor.Origin != nil && e.Access.Actor.Origin.Kind != "exec" {
				t.Errorf("somebody else's hook raised an event: %s", describe([]event.Event{e}))
			}
		case event.KindCreated, event.KindExec, event.KindDeleted:
		}
		if strings.Contains(e.Message, "runc") {
			t.Errorf("a record speaks of the runtime: %s", e.Message)
		}
	}
}

// removeCgroupFolders removes the parent cgroups that a test itself requested.
func removeCgroupFolders(t *testing.T, n *node.Node) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		for _, part := range []string{"kubepods.slice/kubepods-pod1.slice", "kubepods.slice"} {
			found, err := filepath.Glob(filepath.Join(root, n.CgroupParent(), part))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range found {
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func withUserNamespace(ctx context.Context, client oci.Client, c *containers.Container, s *oci.Spec) error {
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 65536}}
	return oci.WithUserNamespace(maps, maps)(ctx, client, c, s)
}

func withDenyList(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	errno := uint(13)
	s.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"ptrace", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno}},
	}
	return nil
}

// withMarkingHooks adds third-party hooks of every kind. Each reads its own memory map and leaves a
// mark.
func withMarkingHooks(marks string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		hook := func(kind string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf(
				"dd if=/proc/self/mem of=/dev/null bs=1 count=1 skip=4194304 2>/dev/null; cat /proc/self/maps >/dev/null; : > %s", filepath.Join(marks, kind))}}}
		}
		s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: marks, Destination: marks, Options: []string{"rbind", "rw"}})
		s.Hooks = &specs.Hooks{
			Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"), //nolint:staticcheck // still in use elsewhere
			StartContainer: hook("startContainer"), Poststart: hook("poststart"), Poststop: hook("poststop"),
		}
		return nil
	}
}

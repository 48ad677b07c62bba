package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// TestOpenedElsewhere checks that a mem file opened by an unguarded process is stopped at its first
// use.
func TestOpenedElsewhere(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", victim.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()

	for _, mode := range []string{"runc", "audit", "enforce"} {
		spec := node.Spec{
			ID: "opened-" + mode, Runtime: node.Shimward, PIDOf: victim,
			Annotations: map[string]string{annotationMode: mode},
		}
		if mode == "runc" {
			spec.Runtime, spec.Annotations = node.Runc, nil
		}
		t.Run("passed over a socket, "+mode, func(t *testing.T) {
			spec := spec
			spec.ID += "-passed"
			dir := t.TempDir()
			give(t, filepath.Join(dir, "s"), mem)
			spec.Options = []oci.SpecOpts{oci.WithMounts([]specs.Mount{
				{Destination: "/give", Type: "bind", Source: dir, Options: []string{"rbind", "rw"}},
			})}
			attacks := attack(t, n, spec, "--victim=1", "--socket=/give/s", "mem-scm-rights")
			wantUse(t, n, mode, spec.ID, attacks)
		})
		t.Run("open at entry, "+mode, func(t *testing.T) {
			spec := spec
			spec.ID += "-entered"
			c := mustStart(t, n, spec)
			attacks := enter(t, c, mem, "/bin/shimward", "emulate", "--json", "--victim=1", "--fd=3", "mem-inherited")
			ctx := testContext(t)
			if err := errors.Join(c.Kill(ctx), c.DeleteTask(ctx)); err != nil {
				t.Fatal(err)
			}
			wantUse(t, n, mode, spec.ID, attacks)
		})
	}
}

// wantUse checks the outcome of using the file, and that it is recorded as one event.
func wantUse(t *testing.T, n *node.Node, mode, id string, attacks emulate.Report) {
	t.Helper()
	r := attacks.Results[0]
	if r.Through() != (mode != "enforce") || mode == "enforce" && (r.Got || r.Changed) {
		t.Errorf("under %s: %s", mode, tell(r))
	}
	events := accesses(t, n, id)
	if mode == "runc" {
		return
	}
	if len(events) != 1 || events[0].Access.Vector != access.VectorProcMem || events[0].Access.Relation != access.RelationOtherContainer {
		t.Errorf("want one event of proc_mem at another container:\n%s", describe(events))
	}
}

// give passes a file to the first client that connects to a socket at path.
func give(t *testing.T, path string, file *os.File) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	given := make(chan error, 1)
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			given <- err
			return
		}
		_, _, err = connection.(*net.UnixConn).WriteMsgUnix([]byte{0}, unix.UnixRights(int(file.Fd())), nil)
		given <- errors.Join(err, connection.Close())
	}()
	t.Cleanup(func() {
		closed := listener.Close()
		if err := errors.Join(<-given, closed); err != nil {
			t.Error(err)
		}
	})
}

// enter runs a command in a container's cgroup, mount and pid namespaces, started from outside with
// the file as file descriptor 3.
func enter(t *testing.T, c *node.Container, file *os.File, command ...string) emulate.Report {
	t.Helper()
	args := append([]string{
		"-c", `echo $$ >"$0/cgroup.procs" && exec nsenter "$@"`, cgroup(t, c.PID),
		"--target", fmt.Sprint(c.PID), "--mount", "--pid", "--",
	}, command...)
	cmd := exec.CommandContext(testContext(t), "/bin/sh", args...)
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.Output()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	result := node.Result{Stdout: string(out)}
	if exited != nil {
		result.Code, result.Stderr = exited.ExitCode(), string(exited.Stderr)
	}
	return report(t, result)
}

// cgroup returns the directory of a process's cgroup in the v2 hierarchy.
func cgroup(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		root = "/sys/fs/cgroup/unified"
	}
	for _, line := range strings.Split(string(raw), "\n") {
		if path, found := strings.CutPrefix(line, "0::"); found {
			return filepath.Join(root, path)
		}
	}
	t.Fatalf("process %d is in no cgroup v2: %s", pid, raw)
	return ""
}

package integration

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/integration/internal/node"
)

// withHook adds a createRuntime hook that runs a script. It runs before shimward's.
func withHook(script string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}}}}
		return nil
	}
}

// underBoth runs a test with a container that a shim hosts, and with one that a monitor hosts.
func underBoth(t *testing.T, test func(t *testing.T, n *node.Node, spec node.Spec)) {
	t.Helper()
	t.Run("shim", func(t *testing.T) { test(t, startGuardedNode(t, node.Options{}), node.Spec{Runtime: node.Shimward}) })
	t.Run("monitor", func(t *testing.T) {
		n, below := startRuntimeNode(t)
		test(t, n, below)
	})
}

// TestHookAlone removes the socket by which the createRuntime hook reaches the container's host. The
// container must not be created, the user must read why, and nothing may be left.
func TestHookAlone(t *testing.T) {
	underBoth(t, func(t *testing.T, n *node.Node, spec node.Spec) { //nolint:thelper // it is the test
		sound := spec
		spec.Options = []oci.SpecOpts{withHook("rm " + n.Paths.Host("*"))}
		wantNotCreated(t, n, spec, "createRuntime hook", "so it is not created, create it again", "shim or monitor is gone")
		wantSettled(t, n)
		sound.Args = []string{"/bin/true"}
		if result := mustRun(t, n, sound); result.Code != 0 {
			t.Errorf("the next: %s", result)
		}
	})
}

// TestHookImpostor puts another socket in the place of the one by which the createRuntime hook reaches the
// container's host, and has it say that the container is guarded. The container must not be created.
func TestHookImpostor(t *testing.T) {
	underBoth(t, func(t *testing.T, n *node.Node, spec node.Spec) { //nolint:thelper // it is the test
		// Its folder has to be on the same file system, as the socket is moved.
		folder := filepath.Join(filepath.Dir(n.Paths.Run), "impostor")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, "s")
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		asked := make(chan string, 8)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprintln(conn, "{}")
				said, _ := bufio.NewReader(conn).ReadString('\n')
				asked <- said
				_ = conn.Close()
			}
		}()
		spec.Options = []oci.SpecOpts{withHook(fmt.Sprintf("for s in %s; do mv -f %s $s; done", n.Paths.Host("*"), path))}
		wantNotCreated(t, n, spec, "createRuntime hook", fmt.Sprintf("is the socket of process %d", os.Getpid()))
		wantSettled(t, n)
		if said := <-asked; strings.Contains(said, "created") {
			t.Errorf("it was told %q", said)
		}
	})
}

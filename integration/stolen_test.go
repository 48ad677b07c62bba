package integration

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// TestStolen checks that a process stays attributed to its container, whatever cgroup a privileged
// container moves it to. See testdata/steal.c.
func TestStolen(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-o", filepath.Join(dir, "steal"), "testdata/steal.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mounted := []oci.SpecOpts{oci.WithMounts([]specs.Mount{
		{Destination: "/steal", Type: "bind", Source: dir, Options: []string{"rbind", "ro"}},
	})}
	for _, mode := range []string{"runc", "audit", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			guarded := node.Spec{Runtime: node.Shimward, Annotations: map[string]string{annotationMode: mode}, Options: mounted}
			if mode == "runc" {
				guarded.Runtime, guarded.Annotations = node.Runc, nil
			}
			keeper, thief := guarded, guarded
			keeper.ID, keeper.Args = "keeper-"+mode, []string{"/steal/steal", "keep"}
			victim := mustStart(t, n, keeper)
			if err := victim.WaitLine(testContext(t), "keeps a secret"); err != nil {
				t.Fatal(err)
			}
			address, _, _ := strings.Cut(victim.Stdout(), " ")
			thief.ID, thief.Args = "thief-"+mode, []string{"/steal/steal", "take", "1", address}
			thief.PIDOf, thief.Privileged = victim, true
			result := mustRun(t, n, thief)
			if got := strings.Contains(result.Stdout, "the-secret-of-the-victim"); got != (mode != "enforce") {
				t.Errorf("got the secret: %t: %s", got, result)
			}
			if mode == "runc" {
				return
			}
			ctx, cancel := context.WithTimeout(testContext(t), time.Minute)
			defer cancel()
			if _, err := n.WaitEvent(ctx, thief.ID, func(e event.Event) bool {
				return e.Kind == event.KindAccess && e.Access.Vector == access.VectorPtrace &&
					e.Access.Relation == access.RelationOtherContainer && e.Access.Target.Container == keeper.ID
			}); err != nil {
				t.Errorf("%v:\n%s", err, describe(accesses(t, n, thief.ID)))
			}
		})
	}
}

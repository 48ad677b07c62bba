package integration

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// TestTamper lets a privileged, guarded container attack shimward itself, with the node's
// directories mounted and its processes visible. Either the attack is refused, or its target keeps
// working or ends, and that is recorded. TestStolen covers moving processes to other cgroups.
func TestTamper(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-o", filepath.Join(dir, "tamper"), "testdata/tamper.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := saboteur{n: n, program: dir}
	t.Run("attacks", func(t *testing.T) { // they share the node and wait for their notices in parallel
		for _, test := range []struct {
			name string
			run  func(*testing.T, saboteur)
		}{ // longest first
			{"emulated", tamperEmulated},
			{"pins and socket", tamperState},
			{"bpf", tamperBPF},
			{"store", tamperStore},
			{"shim killed", tamperKill},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, s)
			})
		}
	})
	wantSettled(t, n)
}

// saboteur creates the attacker's containers.
type saboteur struct {
	n       *node.Node
	program string // the directory of testdata/tamper.c's binary
}

// spec returns a container with access to everything on the node that these attacks need.
func (s saboteur) spec(annotations map[string]string, args ...string) node.Spec {
	spec := node.Spec{Runtime: node.Shimward, Annotations: annotations, Args: args, Privileged: true, HostPID: true}
	var mounts []specs.Mount
	for at, source := range map[string]string{
		"/host/tamper": s.program, "/host/run/shimward": s.n.Paths.Run, "/host/sys/fs/bpf/shimward": s.n.Paths.BPF,
		"/host/var/log/shimward": s.n.Paths.Log, "/host/sys/fs/cgroup": "/sys/fs/cgroup",
	} {
		mounts = append(mounts, specs.Mount{Destination: at, Type: "bind", Source: source, Options: []string{"rbind", "rw"}})
	}
	spec.Options = []oci.SpecOpts{oci.WithMounts(mounts)}
	return spec
}

// mustAttack runs an attack that nothing refuses.
func (s saboteur) mustAttack(t *testing.T, args ...string) {
	t.Helper()
	if result := mustRun(t, s.n, s.spec(enforceBaseline(), args...)); result.Code != 0 {
		t.Fatalf("%q: %s", args, result)
	}
}

// keeper starts the container that has to stay guarded, and also returns its key.
func (s saboteur) keeper(t *testing.T, id string) (*node.Container, string) {
	t.Helper()
	c := mustDetach(t, s.n, node.Spec{ID: id, Runtime: node.Shimward, Annotations: enforceStrict()})
	deleteAtEnd(t, c)
	return c, policy.Key(c.ID, c.Bundle())
}

// deleteAtEnd deletes a container that may have lost its shim, at the end of the test.
func deleteAtEnd(t *testing.T, c *node.Container) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		deleteBereft(ctx, t, c)
	})
}

func enforceBaseline() map[string]string {
	return map[string]string{annotationMode: "enforce", annotationProfile: "baseline"}
}

func tamperBPF(t *testing.T, s saboteur) {
	t.Helper()
	keeper, key := s.keeper(t, "kept-bpf")
	attempts := []string{"pin", "program", "map", "link", "descriptor"}
	args := []string{"/host/tamper/tamper", "bpf", "/host/sys/fs/bpf/shimward/containers/" + key + "/ring", "/host/sys/fs/cgroup", shimOf(t, s.n, keeper.ID)}
	bare := s.spec(nil, args...)
	bare.Runtime = node.Runc
	stock := mustRun(t, s.n, bare)
	for _, what := range attempts {
		if !strings.Contains(stock.Stdout, what+": done\n") {
			t.Errorf("%s is refused under stock runc: %s", what, stock)
		}
	}
	if strings.Contains(stock.Stdout, "detach: done") {
		t.Errorf("what has a link was detached without it: %s", stock)
	}
	for name, annotations := range map[string]map[string]string{"baseline": enforceBaseline(), "strict": enforceStrict()} {
		spec := s.spec(annotations, args...)
		spec.ID = "tamper-bpf-" + name
		result := mustRun(t, s.n, spec)
		for _, what := range attempts {
			if !strings.Contains(result.Stdout, what+": EPERM\n") {
				t.Errorf("%s is not refused under %s: %s", what, name, result)
			}
		}
		events := accesses(t, s.n, spec.ID)
		for _, want := range []event.Access{
			{Vector: access.VectorBPF, Relation: access.RelationKernel, Count: 4}, // same vector and actor, and so one event unless the CPUs are emulated
			{Vector: access.VectorPidfdGetfd, Relation: access.RelationHost, Count: 1},
		} {
			var count, most uint64
			for _, e := range events {
				if a := e.Access; a.Vector == want.Vector && a.Relation == want.Relation && a.Verdict == access.VerdictRefused {
					count, most = count+a.Count, max(most, a.Count)
				}
			}
			if count != want.Count || most != want.Count && !node.Emulated() {
				t.Errorf("events of %d refused by %s under %s, want %d:\n%s", count, want.Vector, name, want.Count, describe(events))
			}
		}
	}
	wantGuarded(t, s.n, keeper, "after", true)
}

func tamperState(t *testing.T, s saboteur) {
	t.Helper()
	keeper, key := s.keeper(t, "kept-state")
	ctx := testContext(t)
	waitHeld(ctx, t, s.n, keeper)
	s.mustAttack(t, "/bin/rm", "-r", "/host/sys/fs/bpf/shimward/containers/"+key)
	wantGuarded(t, s.n, keeper, "no-pins", true)
	s.mustAttack(t, "/host/tamper/tamper", "send", "/host/run/shimward/containers/"+key+"/notify.sock")
	if _, err := keeper.Exec(ctx, "no-socket", "/bin/true"); err == nil || !strings.Contains(err.Error(), "not the socket that shimward made") {
		t.Errorf("an exec whose listener goes to somebody else: %v", err)
	}
	wantNotice(ctx, t, s.n, keeper.ID, "pins")
	wantNotice(ctx, t, s.n, keeper.ID, "replaced the container's state")
}

func tamperStore(t *testing.T, s saboteur) {
	t.Helper()
	keeper, key := s.keeper(t, "kept-store")
	file := "/host/var/log/shimward/" + key + "/events.jsonl"
	for i, attack := range []struct{ command, notice string }{
		{": > " + file, "cut its file short"},
		{`line=$(head -n 1 ` + file + `) && echo "$line" >> ` + file, "wrote into its file"},
		{"rm " + file, "removed or replaced its file"},
		{"rm " + file + " && mkfifo " + file, "put something else in the place of events.jsonl"},
		{"rm -r /host/var/log/shimward/" + key, "removed or replaced its file"}, // this also removes the file with the earlier notice
	} {
		s.mustAttack(t, "/bin/sh", "-c", attack.command)
		wantGuarded(t, s.n, keeper, fmt.Sprintf("after-%d", i), true)
		wantNotice(testContext(t), t, s.n, keeper.ID, attack.notice)
	}
}

func tamperKill(t *testing.T, s saboteur) {
	t.Helper()
	keeper, _ := s.keeper(t, "kept-kill")
	s.mustAttack(t, "/bin/kill", "-KILL", shimOf(t, s.n, keeper.ID))
	if err := keeper.Gone(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.n.WaitEvent(testContext(t), keeper.ID, func(e event.Event) bool {
		return e.Kind == event.KindDeleted && strings.Contains(e.Message, "shim")
	}); err != nil {
		t.Error(err)
	}
}

func shimOf(t *testing.T, n *node.Node, id string) string {
	t.Helper()
	shims, err := n.Shims()
	if err != nil {
		t.Fatal(err)
	}
	if shims[id] == 0 {
		t.Fatalf("no shim of %s", id)
	}
	return strconv.Itoa(shims[id])
}

package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// TestOutsidersAreQuiet checks that inspecting a guarded container's processes from outside,
// without accessing their memory, causes no event, whether from the node or from an unguarded
// container.
func TestOutsidersAreQuiet(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	victim := startStrictVictim(t, n, "looked-at")
	ctx := testContext(t)
	lookFromNode(t, victim)
	inside := lookAt(1)
	for _, args := range [][]string{{"/bin/ps"}, {"/bin/sh", "-c", inside}} {
		result := mustRun(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim, Args: args, Capabilities: attackCapabilities()})
		if result.Code != 0 {
			t.Errorf("%q: %s", args, result)
		}
	}
	// Profiling the whole node does not target any particular process.
	all := attack(t, n, node.Spec{Runtime: node.Runc, PIDOf: victim}, "perf-event-all").Results[0]
	if !all.Through() && all.Outcome != emulate.OutcomeUnsupported {
		t.Errorf("hindered: %s", tell(all))
	}
	if result, err := victim.Exec(ctx, "honest", "/bin/true"); err != nil || result.Code != 0 {
		t.Errorf("exec: %s, %v", result, err)
	}
	endVictim(t, victim)
	if events := accesses(t, n, victim.ID); len(events) > 0 {
		t.Errorf("events of honest work:\n%s", describe(events))
	}
}

// lookAt returns a shell command that reads what procfs tells about a process.
func lookAt(pid int) string {
	const readable = "stat statm status maps smaps_rollup auxv environ io wchan cgroup limits syscall stack personality"
	// The process's file descriptors may come and go in the meantime.
	return fmt.Sprintf(`cd /proc/%d && cat %s >/dev/null && ls -l exe cwd root ns >/dev/null && { cat fdinfo/*; ls -l fd; true; } >/dev/null`, pid, readable)
}

// lookFromNode inspects a container's process as the node's administrator does, and fails the test if that fails.
func lookFromNode(t *testing.T, victim *node.Container) {
	t.Helper()
	for _, command := range []string{
		lookAt(victim.PID), "ps auxwww", "ps -eLo pid,tid,wchan,comm", "top -b -n 1",
		fmt.Sprintf("lsof -n -p %d", victim.PID), fmt.Sprintf("prlimit --pid %d", victim.PID),
	} {
		if out, err := exec.CommandContext(testContext(t), "/bin/sh", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
}

// TestNodeIsObserved checks that accesses by the node's own processes are recorded, and not stopped
// by any profile.
func TestNodeIsObserved(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	victim := startStrictVictim(t, n, "observed")
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	vectors := []string{"kcmp", "move-pages", "process-madvise", "perf-event", "core-limit", "proc-mem-read", "userfaultfd-received", "core-dump", "core-dump-io"}
	out, err := exec.CommandContext(testContext(t), filepath.Join(bin, "shimward"),
		append([]string{"emulate", "--json", fmt.Sprintf("--victim=%d", victim.PID)}, vectors...)...).Output()
	if len(out) == 0 {
		t.Fatal(err)
	}
	attacks := report(t, node.Result{Code: 1, Stdout: string(out)})
	endVictim(t, victim)
	events := accesses(t, n, victim.ID)
	for _, r := range attacks.Results {
		t.Run(r.Name, func(t *testing.T) {
			if !r.Through() && r.Outcome != emulate.OutcomeUnsupported {
				t.Errorf("the node's own was stopped: %s", tell(r))
			}
			found := by(events, r)
			if !seenInbound(r.Access, tier(t)) || r.Access == access.VectorCoreDump {
				if len(found) > 0 {
					t.Errorf("%s was seen, which is said not to be:\n%s", tell(r), describe(found))
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("%d events of %s, want 1:\n%s", len(found), tell(r), describe(found))
			}
			a := found[0].Access
			if a.Verdict != access.VerdictObserved || a.Relation != access.RelationHost || !a.Inbound || a.Vector != r.Access || a.Target.PID != victim.PID {
				t.Errorf("want one that was observed from the node:\n%s", describe(found))
			}
		})
	}
}

func startStrictVictim(t *testing.T, n *node.Node, id string) *node.Container {
	t.Helper()
	return startVictim(t, n, node.Spec{
		ID: id, Runtime: node.Shimward,
		Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "strict"},
	})
}

// endVictim ends a victim and waits until everything that was seen of it is in the store.
func endVictim(t *testing.T, victim *node.Container) {
	t.Helper()
	ctx := testContext(t)
	if err := victim.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := victim.DeleteTask(ctx); err != nil {
		t.Fatal(err)
	}
}

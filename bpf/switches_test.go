package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// A container whose rule kernel refuses it cannot set the node's switches, but can read them.
func TestLSMSwitches(t *testing.T) {
	testenv.LSM(t)
	node := newNode(t)
	for path, vector := range map[string]access.Vector{
		"/proc/sys/kernel/core_pattern":                                access.VectorCorePattern,
		"/proc/sys/kernel/ftrace_enabled":                              access.VectorFtraceEnabled,
		"/sys/kernel/tracing/uprobe_events":                            access.VectorTracefs,
		"/sys/kernel/tracing/kprobe_events":                            access.VectorTracefs,
		"/sys/kernel/tracing/dynamic_events":                           access.VectorTracefs,
		"/sys/kernel/tracing/events/syscalls/sys_enter_openat/filter":  access.VectorTracefs,
		"/sys/kernel/tracing/events/syscalls/filter":                   access.VectorTracefs,
		"/sys/kernel/tracing/events/syscalls/sys_enter_openat/trigger": access.VectorTracefs,
	} {
		name := filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
		w := want{
			vector: vector, operation: access.OperationWrite, relation: access.RelationKernel,
			verdict: access.VerdictRefused, sensor: access.SensorLSM,
		}
		t.Run(name+"/unguarded", func(t *testing.T) {
			if said, status := start(t, nil, nil, "set", path).end(); said != "set" {
				t.Fatalf("it ended with %v and said %q: the rest proves nothing", status, said)
			}
		})
		t.Run(name+"/opened", func(t *testing.T) {
			c := newContainer(t, node, plan("switches", policy.ModeEnforce, allRefused()))
			if said, status := c.run("set", path).end(); status.ExitStatus() != 1 || !strings.HasSuffix(said, "permission denied") {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			c.expect(w)
		})
		t.Run(name+"/received", func(t *testing.T) {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer shut(file)
			refusedReceived(t, node, file, w)
		})
		t.Run(name+"/observed", func(t *testing.T) {
			c := newContainer(t, node, plan("observes", policy.ModeEnforce, allObserved()))
			if said, status := c.run("set", path).end(); said != "set" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			w := w
			w.verdict = access.VerdictObserved
			c.expect(w)
		})
		t.Run(name+"/read", func(t *testing.T) { openWindow(t, node, path) })
	}
}

// If the kernel is told to call no LSM programs, which takes at least the node's administrator,
// only programs that do not depend on ftrace remain.
func TestLSMSwitchedOff(t *testing.T) {
	testenv.LSM(t)
	node := newNode(t)
	victim := newVictim(t, nil)
	set := func(value string) {
		if err := os.WriteFile(ftraceSwitch, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.Called(); err != nil {
		t.Fatal(err)
	}
	running := newContainer(t, node, plan("running", policy.ModeEnforce, allRefused()))
	running.run("sleep")
	free := newContainer(t, node, plan("free", policy.ModeEnforce, allRefused()))
	init := start(t, nil, nil, "sleep").cmd.Process.Pid
	set("0")
	t.Cleanup(func() { set("1") })

	if err := node.Called(); !errors.Is(err, ErrFtraceOff) {
		t.Errorf("nobody says so: %v", err)
	}
	if err := node.Enrol(free.plan, init, free.cgroup); !errors.Is(err, ErrFtraceOff) {
		t.Errorf("a container is created all the same: %v", err)
	}
	if other, err := Ensure(NodeOptions{Paths: policy.Paths{Run: t.TempDir(), BPF: filepath.Join(testenv.BPF(t), "another")}}); !errors.Is(err, ErrFtraceOff) {
		t.Errorf("a node is loaded without them for as long as it is up: %v, %v", other, err)
	}
	running.stopped(running.join("mem-read", victim.pid, victim.address))
	running.expect(want{vector: access.VectorProcMem, verdict: access.VerdictKilled, sensor: access.SensorAccess})

	set("1")
	running.stopped(running.join("mem-read", victim.pid, victim.address))
	running.expect(want{vector: access.VectorProcMem, verdict: access.VerdictRefused, sensor: access.SensorLSM})
}

// playSet sets a sysctl to its current value. In tracefs, it writes nothing, or no filter.
func playSet(path string) int {
	value, err := os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	switch {
	case filepath.Base(path) == "filter":
		value = []byte("0") // clears the filter
	case strings.Contains(path, "/tracing/"):
		value = nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fail(err)
	}
	if _, err := file.Write(value); err != nil {
		return fail(err)
	}
	fmt.Println("set")
	return 0
}

package integration

import (
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
)

// debugger is a tool that reads another process's memory on purpose.
type debugger struct {
	name string
	exe  string // the path to allow
	// script is for bash; $pid is a sibling of the tool. It prints "worked" if the tool works.
	script string
	vector access.Vector
	warns  []access.Vector // what is recorded above info although it is allowed
	later  bool            // needs the later Debian release
	child  bool            // starts what it traces, which asks to be traced
}

func debuggers() []debugger {
	return []debugger{
		{"gdb attach", "/usr/bin/gdb", `gdb -q -batch -nx -p $pid -ex 'p/x $pc' 2>&1 | grep -q '= 0x' && echo worked`, access.VectorPtrace, nil, false, false},
		{"gcore", "/usr/bin/gdb", `gcore -o /tmp/core $pid >/dev/null 2>&1; [ -s /tmp/core.$pid ] && echo worked`, access.VectorPtrace, nil, false, false},
		{"strace attach", "/usr/bin/strace", `strace -o /tmp/trace -p $pid 2>/dev/null & tracer=$!
for i in {1..100}; do grep -q '^TracerPid:.*[1-9]' /proc/$pid/status && echo worked && break; kill -0 $tracer 2>/dev/null || break; sleep 0.05; done; kill -INT $tracer 2>/dev/null; wait $tracer`, access.VectorPtrace, nil, false, false},
		{"ltrace attach", "/usr/bin/ltrace", `ltrace -o /tmp/trace -p $pid 2>/dev/null & tracer=$!
for i in {1..100}; do grep -q '^TracerPid:.*[1-9]' /proc/$pid/status && echo worked && break; kill -0 $tracer 2>/dev/null || break; sleep 0.05; done; kill -INT $tracer 2>/dev/null; wait $tracer`, access.VectorPtrace, nil, false, false},
		{
			"perf record", "/usr/bin/perf", `perf record -q -o /tmp/perf.data -e cpu-clock -p $pid -- sleep 0.2 >/dev/null 2>&1 && echo worked`, access.VectorPerfEvent,
			[]access.Vector{access.VectorPerfEvent},
			false, false,
		}, // it first tries to measure the whole node, and works without that
		{
			"austin", "/usr/bin/austin", `python3 -c 'def busy():
  open("/tmp/busy", "w").close()
  while True: pass
busy()' & python=$!
until [ -e /tmp/busy ]; do kill -0 $python || break; sleep 0.05; done
austin -i 10000 -x 1 -p $python 2>/dev/null | grep -q ':busy:' && echo worked; kill -9 $python`,
			access.VectorProcessVMReadv, nil, true, false,
		},
		{"gdb launch", "/usr/bin/gdb", `gdb -q -batch -nx -ex run --args /bin/echo run 2>&1 | grep -q '^run$' && echo worked`, access.VectorPtrace, nil, false, true},
		{"strace launch", "/usr/bin/strace", `strace -f -o /tmp/trace /bin/sh -c 'echo run | cat' | grep -q '^run$' && echo worked`, access.VectorPtrace, nil, false, true},
	}
}

// TestDebuggers checks that honest tools that read memory are refused where a profile refuses it,
// and permitted where an annotation allows them.
func TestDebuggers(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	for _, d := range debuggers() {
		// On emulated CPUs perf records nothing, also under stock runc, and the others take too
		// long.
		if d.name != "gdb attach" && d.name != "strace attach" && node.Emulated() {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			id := strings.ReplaceAll(d.name, " ", "-")
			h := honest{script: "sleep 1000 & pid=$!\n" + d.script + "\nkill -9 $pid; exit 0", needs: []string{"CAP_SYS_PTRACE", "CAP_PERFMON"}, later: d.later}
			if result := h.run(t, n, node.Spec{Runtime: node.Runc}); result.Stdout != "worked\n" {
				t.Fatalf("it does not work under runc: %s", result)
			}
			refused := h.run(t, n, node.Spec{ID: id, Runtime: node.Shimward, Annotations: enforceStrict()})
			if refused.Stdout != "" {
				t.Errorf("strict lets it through: %s", refused)
			}
			stopped, relation := 0, access.RelationSameContainer
			if d.child {
				relation = access.RelationChild
			}
			for _, e := range accesses(t, n, id) {
				if e.Access.Vector == d.vector && e.Access.Verdict == access.VerdictRefused && e.Access.Relation == relation {
					stopped++
				}
			}
			if stopped == 0 {
				t.Errorf("no event says that it was refused:\n%s", describe(accesses(t, n, id)))
			}

			annotations := enforceStrict()
			annotations["shimward.dev/allow"] = d.exe
			allowed := h.run(t, n, node.Spec{ID: id + "-allowed", Runtime: node.Shimward, Annotations: annotations})
			if allowed.Stdout != "worked\n" {
				t.Errorf("it is allowed, and does not work: %s", allowed)
			}
			wantSilent(t, n, id+"-allowed", d.warns)
		})
	}
}

package integration

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/integration/internal/node"
)

// churn returns how many rounds to create and delete containers. VMs run fewer, on emulated CPUs.
func churn(t *testing.T) int {
	t.Helper()
	if os.Getenv("SHIMWARD_TEST_BPF") != "" {
		return 20
	}
	return 60
}

// youth is longer than a shim delays its garbage collection after its start (shim.holdGarbage).
const youth = 12 * time.Second

// TestChurn creates and deletes containers in one pod, and outside of it. Neither the pod's shim
// nor the node may grow, and nothing may be left.
func TestChurn(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	pod := map[string]string{"io.kubernetes.cri.sandbox-id": "pod", "io.kubernetes.cri.container-type": "container"}
	first := node.Spec{ID: "pod", Runtime: node.Shimward, Annotations: with(pod, auditStrict())}
	begin := time.Now()
	sandbox := mustDetach(t, n, first)
	cycle := func(round int, annotations map[string]string) {
		t.Helper()
		c := mustDetach(t, n, node.Spec{ID: fmt.Sprintf("churn-%d", round), Runtime: node.Shimward, Annotations: annotations})
		if round%10 == 0 {
			if _, err := c.Exec(ctx, "again", "/bin/true"); err != nil {
				t.Error(err)
			}
		}
		if err := c.Delete(ctx); err != nil {
			t.Fatal(err)
		}
	}
	both := func(from, to int) {
		for i := from; i < to; i++ {
			var wait sync.WaitGroup
			wait.Go(func() { cycle(2*i, with(pod, auditStrict())) })
			wait.Go(func() { cycle(2*i+1, enforceStrict()) })
			wait.Wait()
		}
	}
	warm := 0
	for ; warm < 10 || time.Since(begin) < youth; warm++ {
		both(warm, warm+1)
	}
	before := take(ctx, t, n, sandbox)
	rounds := churn(t)
	both(warm, warm+rounds)
	after := take(ctx, t, n, sandbox)
	// The kernel frees some of its objects with a delay.
	for deadline := time.Now().Add(20 * time.Second); len(grown(before, after, rounds)) > 0 && time.Now().Before(deadline); {
		<-time.After(100 * time.Millisecond)
		after = take(ctx, t, n, sandbox)
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		t.Logf("%s: %d, then %d", name, before[name], after[name])
	}
	for _, name := range grown(before, after, rounds) {
		t.Errorf("%s grew by %d in %d rounds", name, after[name]-before[name], rounds)
	}
	if err := sandbox.Delete(ctx); err != nil {
		t.Error(err)
	}
	wantSettled(t, n)
}

// grown returns the names of what has grown by more than is permitted after so many rounds.
func grown(before, after map[string]int, rounds int) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(after)), func(name string) bool {
		most := 2
		switch name {
		case "shim's memory, KiB":
			most = 4096
		case "shim's descriptors, anon_inode:[pidfd]":
			most = rounds / 2 // of runc commands that ended; they stay until Go's next garbage collection
		case "node's maps", "node's links", "node's programs":
			most = 40 // others use this kernel, too
		}
		return after[name]-before[name] <= most
	})
}

func with(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, one := range all {
		maps.Copy(sum, one)
	}
	return sum
}

// take measures everything that could grow.
func take(ctx context.Context, t *testing.T, n *node.Node, sandbox *node.Container) map[string]int {
	t.Helper()
	shims, err := n.Shims()
	if err != nil {
		t.Fatal(err)
	}
	shim := shims[sandbox.ID]
	files, err := node.OpenFiles(shim)
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", shim))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	pins := 0
	err = filepath.WalkDir(n.Paths.BPF, func(string, os.DirEntry, error) error { pins++; return ctx.Err() })
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadDir(filepath.Join(n.Paths.Run, "containers"))
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]int{
		"shim's memory, KiB": pss(t, shim), "shim's threads / 4": len(threads) / 4, "pins": pins,
		"state": len(state), "mounts of the node": strings.Count(string(mounts), n.Dir),
		"node's programs": count(unix.BPF_PROG_GET_NEXT_ID), "node's maps": count(unix.BPF_MAP_GET_NEXT_ID), "node's links": count(unix.BPF_LINK_GET_NEXT_ID),
	}
	for kind, files := range files {
		taken["shim's descriptors, "+kind] = files
	}
	return taken
}

// count counts the kernel's BPF objects of one kind (bpf(2)).
func count(next uintptr) int {
	for found, attr := 0, struct{ start, next, flags uint32 }{}; ; found++ {
		if _, _, errno := unix.Syscall(unix.SYS_BPF, next, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); errno != 0 {
			return found
		}
		attr.start = attr.next
	}
}

// pss returns a process's proportional set size in KiB.
func pss(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "Pss:" {
			size, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return size
		}
	}
	t.Fatalf("process %d has no Pss", pid)
	return 0
}

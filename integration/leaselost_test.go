package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/guarded"
)

// reaching accesses the memory of the container's init again and again for as long as the container
// runs. It needs neither the shim nor containerd.
const reaching = `cd /tmp
while :; do /bin/shimward emulate --json --timeout=3m --victim=1 proc-mem-read >new; mv new result; done </dev/null >/dev/null 2>&1 &`

// TestLeaseWithoutShim kills the shim of a container with a lease, and containerd, so that no
// process is left to end the lease or the container. The kernel must end the lease when its time is
// over, and accesses must be permitted until then.
func TestLeaseWithoutShim(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	c := mustDetach(t, n, node.Spec{
		ID: "bereft", Runtime: node.Shimward, Annotations: enforceStrict(), Capabilities: attackCapabilities(),
		Args: []string{"/bin/shimward", "emulate", "victim"},
	})
	if err := c.WaitLine(ctx, "keeps a secret"); err != nil {
		t.Fatal(err)
	}
	if result, err := c.Exec(ctx, "reaching", "/bin/sh", "-c", reaching); err != nil || result.Code != 0 {
		t.Fatal(err, result)
	}
	if next(t, c) {
		t.Fatal("strict lets a process of the same container through")
	}
	// On a slow node, a lease may expire before it was tried.
	for length := 20 * time.Second; ; length *= 2 {
		allow(t, n, "--container=bereft", "--exe=/bin/shimward", "--for="+length.String(), "--why=INC-42")
		for !next(t, c) && len(leases(t, n)) > 0 {
			continue
		}
		if len(leases(t, n)) > 0 {
			break
		}
	}
	if err := n.KillContainerd(); err != nil {
		t.Fatal(err)
	}
	if err := n.KillShim(c.ID); err != nil {
		t.Fatal(err)
	}
	if through := next(t, c); !through && len(leases(t, n)) > 0 {
		t.Error("the lease ended with the shim")
	}
	waitNoLease(t, n)
	if next(t, c) {
		t.Error("the lease is over, and nobody has ended it")
	}
	if err := n.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Gone(ctx); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, n)
	wantNoGrants(t, n)
}

// TestLeaseEndsWithContainer checks that the leases of a container that ends with its shim are
// removed completely, and that the next container of that name has none.
func TestLeaseEndsWithContainer(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	spec := node.Spec{ID: "short", Runtime: node.Shimward, Annotations: enforceStrict(), Capabilities: attackCapabilities()}
	spec.Args = []string{"/bin/shimward", "emulate", "victim"}
	c := mustDetach(t, n, spec)
	if err := c.WaitLine(ctx, "keeps a secret"); err != nil {
		t.Fatal(err)
	}
	allow(t, n, "--container=short", "--exe=/bin/shimward", "--for=1h", "--why=INC-42")
	if !reach(t, c, "leased") {
		t.Error("it is allowed, and refused")
	}
	if err := n.KillShim(c.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.Gone(ctx); err != nil {
		t.Fatal(err)
	}
	deleteBereft(ctx, t, c)
	wantSettled(t, n)
	if left := leases(t, n); len(left) > 0 {
		t.Errorf("leases of a container that is no more: %+v", left)
	}
	wantNoGrants(t, n)
	if reach(t, startVictim(t, n, spec), "next") {
		t.Error("the next container of that name has the lease")
	}
}

// next returns the result of the next complete attempt of reaching.
func next(t *testing.T, c *node.Container) (through bool) {
	t.Helper()
	ctx := testContext(t)
	path := filepath.Join("/proc", strconv.Itoa(c.PID), "root/tmp/result")
	// An attempt that is under way began before the call, so the one after it counts.
	for range 2 {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(path); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatal("nobody reaches any more")
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return report(t, node.Result{Stdout: string(text)}).Results[0].Through()
}

func leases(t *testing.T, n *node.Node) []guarded.Lease {
	t.Helper()
	var all []guarded.Lease
	if err := json.Unmarshal([]byte(allow(t, n, "--list", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// wantNoGrants checks the kernel's maps: on a node without containers there are no exceptions.
func wantNoGrants(t *testing.T, n *node.Node) {
	t.Helper()
	maps, err := filepath.Glob(filepath.Join(n.Paths.BPF, "node-*", "grants"))
	if err != nil || len(maps) == 0 {
		t.Fatalf("no grants among the pins: %v", err)
	}
	for _, path := range maps {
		grants, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		var key, value []byte
		for entries := grants.Iterate(); entries.Next(&key, &value); {
			t.Errorf("%s has a grant: %x: %x", path, key, value)
		}
		if err := grants.Close(); err != nil {
			t.Error(err)
		}
	}
}

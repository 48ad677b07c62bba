package bpf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// runc puts the processes that it execs into the cgroup of the container's init, which may have
// moved down as deep as the kernel permits.
func TestGuardDeepBelow(t *testing.T) {
	node := sharedNode(t)
	victim := newVictim(t, nil)
	c := newContainer(t, node, plan("deep", policy.ModeEnforce, allRefused()))
	c.run("sleep").expect("asleep")
	deep := *c
	for range 64 {
		deep.cgroup = filepath.Join(deep.cgroup, "d")
		if err := os.Mkdir(deep.cgroup, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := removeCgroup(deep.cgroup); err != nil {
			t.Error(err)
		}
		for at := filepath.Dir(deep.cgroup); strings.HasSuffix(at, "/d/d"); at = filepath.Dir(at) {
			if err := os.Remove(at); err != nil {
				t.Error(err)
			}
		}
	})
	c.stopped(deep.join("vm-read", victim.pid, victim.address))
	c.expect(want{relation: access.RelationHost, verdict: node.stopVerdict(), target: victim.number()})
}

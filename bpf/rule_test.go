package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

// A rule of the plan takes precedence over the table if all of its conditions match.
func TestRules(t *testing.T) {
	node := sharedNode(t)
	root := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	tool, keeper := filepath.Join(root, "tool"), filepath.Join(root, "keeper")
	if err := errors.Join(os.WriteFile(tool, self, 0o755), os.WriteFile(keeper, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	p := plan("rules", policy.ModeEnforce, allRefused())
	p.Rule = []policy.Rule{
		{Name: "keeper", Action: policy.ActionRefuse, TargetExecutables: []string{"/keeper"}},
		{Name: "tool", Action: policy.ActionObserve, Executables: []string{"/tool", "/missing"}, Operations: []access.Operation{access.OperationRead}},
		{Name: "user", Action: policy.ActionObserve, UIDs: []uint32{7, 1000}, Relations: []access.Relation{access.RelationSameContainer}},
		{Name: "vector", Action: policy.ActionObserve, Vectors: []access.Vector{access.VectorProcessVMWritev}},
	}
	c := newContainer(t, node, p)
	p.Rootfs = root
	victim := meet(c.run("victim"))
	kept := meet(c.join("exec", keeper, "victim"))

	by := func(number int, verdict access.Verdict) {
		t.Helper()
		if r := c.expect(want{verdict: verdict, relation: access.RelationSameContainer}); r != nil && r.Rule != number {
			t.Errorf("decided by rule %d, not by %d", r.Rule, number)
		}
	}
	stopped := node.stopVerdict()
	c.stopped(c.join("vm-read", victim.pid, victim.address))
	by(0, stopped)
	gotIt(t, c.join("exec", tool, "vm-read", victim.pid, victim.address))
	by(2, access.VerdictObserved)
	c.stopped(c.join("exec", tool, "vm-read", kept.pid, kept.address))
	by(1, stopped)
	gotIt(t, c.join("as", "1000", "vm-read", victim.pid, victim.address))
	by(3, access.VerdictObserved)
	c.stopped(c.join("as", "1001", "vm-read", victim.pid, victim.address))
	by(0, stopped)
	c.stopped(c.join("as", "1000", "vm-read", kept.pid, kept.address))
	by(1, stopped)
	if said, status := c.join("vm-write", victim.pid, victim.address).end(); status.ExitStatus() != 0 {
		t.Errorf("by vector: it ended with %v and said %q", status, said)
	}
	by(4, access.VerdictObserved)
	c.stopped(c.join("exec", tool, "mem-write", victim.pid, victim.address)) // another operation
	by(0, stopped)

	if err := os.Chmod(tool, 0o700); err != nil { // any change of the inode
		t.Fatal(err)
	}
	c.stopped(c.join("exec", tool, "vm-read", victim.pid, victim.address))
	by(0, stopped)

	p.Rule = p.Rule[:1]
	if err := node.update(p); err != nil {
		t.Fatal(err)
	}
	c.stopped(c.join("as", "1000", "vm-read", victim.pid, victim.address))
	by(0, stopped)
}

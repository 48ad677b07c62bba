package bpf

import (
	"os"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// The guard shows which container a process belongs to when its cgroup does not.
func TestGuardOf(t *testing.T) {
	node := sharedNode(t)
	c := newContainer(t, node, plan("whose", policy.ModeEnforce, allRefused()))
	init := c.run("sleep")
	init.expect("asleep")
	id, err := cgroupID(c.cgroup)
	if err != nil {
		t.Fatal(err)
	}
	left := c.join("escape", testenv.Cgroup2(t), "sleep")
	left.expect("asleep")
	moved := start(t, nil, nil, "escape", c.cgroup, "sleep")
	moved.expect("asleep")
	for pid, want := range map[int]uint64{init.cmd.Process.Pid: id, left.cmd.Process.Pid: id, moved.cmd.Process.Pid: 0, os.Getpid(): 0} {
		if got, err := node.GuardOf(pid); got != (Guard{Cgroup: want}) || err != nil {
			t.Errorf("%d: %+v, %v, want %d", pid, got, err, want)
		}
	}
	if _, err := node.GuardOf(1 << 30); err == nil {
		t.Error("found the guard of no process")
	}
}

package bpf

import (
	"bufio"
	"os"
	"os/exec"
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

// TestSharesFiles checks which processes count as able to replace a descriptor of another's.
func TestSharesFiles(t *testing.T) {
	node := newNode(t)
	program := buildC(t, "table")
	for how, want := range map[string]bool{"none": false, "fork": false, "share": true, "thread": true, "hop": true} {
		t.Run(how, func(t *testing.T) {
			beside := exec.CommandContext(t.Context(), program, how)
			stdin, err := beside.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := beside.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := beside.Start(); err != nil {
				t.Fatal(err)
			}
			defer beside.Wait() //nolint:errcheck // it ends when its input does
			defer stdin.Close()
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			for range 1000 { // as many moments of one that does not rest
				if got, err := node.SharesFiles(beside.Process.Pid); got != want || err != nil {
					t.Fatalf("%v, %v, want %v", got, err, want)
				}
			}
		})
	}
	if _, err := node.SharesFiles(1 << 30); err == nil {
		t.Error("found the descriptor table of no process")
	}
}

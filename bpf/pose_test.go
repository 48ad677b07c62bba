package bpf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// A process that claims to run an allowed executable (see testdata/pose.c) is not treated as one
// that execed it.
func TestPose(t *testing.T) {
	node := sharedNode(t)
	root := t.TempDir()
	pose := filepath.Join(root, "pose")
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-no-pie", "-o", pose, "testdata/pose.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tool := filepath.Join(root, "tool")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tool, self, 0o755); err != nil {
		t.Fatal(err)
	}
	p := plan("pose", policy.ModeEnforce, allRefused())
	p.Allow, p.Rootfs = []string{"/tool"}, root
	c := newContainer(t, node, p)
	victim := meet(c.run("victim"))
	attack := []string{"exec", pose, tool, victim.pid, victim.address, strconv.Itoa(len(secret))}
	gotIt(t, start(t, nil, nil, attack...)) // otherwise the rest proves nothing

	c.stopped(c.join(attack...))
	c.expect(want{vector: access.VectorProcessVMReadv, verdict: node.stopVerdict(), target: victim.number()})
	gotIt(t, c.join("exec", tool, "vm-read", victim.pid, victim.address))

	posing := c.join("exec", pose, tool)
	posing.expect("posing")
	for pid, want := range map[int]bool{posing.cmd.Process.Pid: true, victim.number(): false, os.Getpid(): false} {
		if got, err := node.Poses(pid); got != want || err != nil {
			t.Errorf("%d: %v, %v, want %v", pid, got, err, want)
		}
	}
}

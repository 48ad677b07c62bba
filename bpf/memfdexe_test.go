package bpf

import (
	"io"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// inMemory returns a memfd with the test binary.
func inMemory(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("victim", 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "victim")
	defer file.Close()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if _, err := io.Copy(file, self); err != nil {
		t.Fatal(err)
	}
	// A file that is open for writing cannot be executed.
	read, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	return read
}

// The executable of a process that runs from a memfd is memory like any other memfd.
func TestLSMExecutedMemory(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	part := []string{"exec", "/proc/self/fd/3", "victim"}
	opens := func(v *victim) []string { return []string{"open", "/proc/" + v.pid + "/exe", "0"} }

	inside := newContainer(t, node, plan("executes", policy.ModeEnforce, allRefused()))
	guarded := meet(inside.runWith([]*os.File{inMemory(t)}, part...))
	if said, status := start(t, outside(), nil, opens(guarded)...).end(); said != "failed: permission denied" {
		t.Errorf("from outside, it ended with %v and said %q", status, said)
	}
	inside.expect(want{
		vector: access.VectorProcFD, relation: access.RelationOtherContainer, verdict: access.VerdictRefused,
		sensor: access.SensorLSM, flags: FlagInbound | FlagInboundRule, target: guarded.number(),
	})
	free := meet(start(t, nil, []*os.File{inMemory(t)}, part...))
	c := newContainer(t, node, plan("opens", policy.ModeEnforce, allRefused()))
	if said, status := c.run(opens(free)...).end(); said != "failed: permission denied" {
		t.Errorf("by a guarded one, it ended with %v and said %q", status, said)
	}
	c.expect(want{vector: access.VectorProcFD, relation: access.RelationHost, verdict: access.VerdictRefused, sensor: access.SensorLSM, target: free.number()})

	// An executable in a stored file is not memory.
	stored := newVictim(t, nil)
	if said, status := c.join(opens(stored)...).end(); said != "opened" && !onMemory(t) {
		t.Errorf("a stored one: it ended with %v and said %q", status, said)
	}
}

// onMemory reports whether the test binary itself is on a tmpfs.
func onMemory(t *testing.T) bool {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Type == unix.TMPFS_MAGIC
}

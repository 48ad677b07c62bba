package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// The test binary also serves as every process that the tests need: with this variable in its
// environment, it plays the part that its arguments name. See actors_test.go.
const partVariable = "SHIMWARD_TEST_PART"

func TestMain(m *testing.M) {
	if os.Getenv(partVariable) != "" {
		os.Exit(play(os.Args[1:]))
	}
	os.Exit(runTests(m))
}

// newNode loads a separate node for the test. Most tests can use sharedNode.
func newNode(t *testing.T) *Node {
	t.Helper()
	dir := testenv.BPF(t)
	node, err := Ensure(NodeOptions{Paths: policy.Paths{Run: t.TempDir(), BPF: filepath.Join(dir, "shimward")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return node
}

// allObserved is a profile that refuses nothing.
func allObserved() policy.Rules {
	return policy.Rules{
		SelfMemWrite: policy.ActionObserve, Child: policy.ActionObserve, SameContainer: policy.ActionObserve,
		SamePod: policy.ActionObserve, OtherContainer: policy.ActionObserve, Host: policy.ActionObserve, Kernel: policy.ActionObserve, Recon: policy.ReconOff,
		Inbound: policy.ActionObserve,
	}
}

func allRefused() policy.Rules {
	return policy.Rules{
		SelfMemWrite: policy.ActionRefuse, Child: policy.ActionRefuse, SameContainer: policy.ActionRefuse,
		SamePod: policy.ActionRefuse, OtherContainer: policy.ActionRefuse, Host: policy.ActionRefuse, Kernel: policy.ActionRefuse, Recon: policy.ActionRefuse,
		Inbound: policy.ActionRefuse,
	}
}

func plan(key string, mode policy.Mode, rules policy.Rules) *policy.Plan {
	return &policy.Plan{
		Identity: policy.Identity{Key: key, ID: key},
		Mode:     mode, Profile: "test", Rules: rules, WithoutLSM: policy.WithoutLSMKill, Rootfs: "/",
	}
}

// container is a cgroup with a process in it, as a runtime creates one.
type container struct {
	t      *testing.T
	node   *Node
	plan   *policy.Plan
	cgroup string
}

// newContainer creates a cgroup for the plan; nothing is enrolled yet.
func newContainer(t *testing.T, node *Node, plan *policy.Plan) *container {
	t.Helper()
	cgroup, err := os.MkdirTemp(testenv.Cgroup2(t), "shimward-test-") //nolint:usetesting // a cgroup is no temporary folder
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(removeCgroup(cgroup), Release(node.paths, plan.Identity.Key)); err != nil {
			t.Error(err)
		}
	})
	return &container{t: t, node: node, plan: plan, cgroup: cgroup}
}

// removeCgroup kills the processes of a cgroup, waits until it is empty, and removes it and its
// children.
func removeCgroup(path string) error {
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if err != nil {
		return err
	}
	defer shut(events)
	for deadline := time.Now().Add(10 * time.Second); ; {
		// Repeat the kill, because the kernel misses a process that is in the middle of an exec.
		if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0); err != nil {
			return err
		}
		// The kernel signals POLLPRI when the file has changed since it was last read.
		state, err := io.ReadAll(io.NewSectionReader(events, 0, 1<<10))
		if err != nil {
			return err
		}
		if strings.Contains(string(state), "populated 0") {
			break
		}
		wait := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(wait, 100); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for %s to be empty: %w", path, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("there are still processes in %s", path)
		}
	}
	children, err := filepath.Glob(filepath.Join(path, "*/cgroup.procs"))
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := os.Remove(filepath.Dir(child)); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// process is a process that the test started and talks to line by line.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// enter starts a part in the container's cgroup, as the runtime does, in a mount namespace of its
// own. It waits at a gate and execs the part when told to.
func (c *container) enter(part ...string) *process {
	c.t.Helper()
	return c.enterWith(syscall.CLONE_NEWNS, nil, part...)
}

func (c *container) enterWith(unshare uintptr, files []*os.File, part ...string) *process {
	c.t.Helper()
	cgroup, err := os.Open(c.cgroup)
	if err != nil {
		c.t.Fatal(err)
	}
	defer cgroup.Close()
	return start(c.t, &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
		Unshareflags: unshare,
	}, files, append([]string{"gate"}, part...)...)
}

// run enrols the container with a first process, and lets it play the part.
func (c *container) run(part ...string) *process {
	c.t.Helper()
	return c.runWith(nil, part...)
}

func (c *container) runWith(files []*os.File, part ...string) *process {
	c.t.Helper()
	p := c.enterWith(syscall.CLONE_NEWNS, files, part...)
	p.expect("at the gate")
	if err := c.node.Enrol(c.plan, p.cmd.Process.Pid, c.cgroup); err != nil {
		c.t.Fatal(err)
	}
	p.say("go")
	return p
}

// join starts a part in the container after its init has started, as `runc exec` does.
func (c *container) join(part ...string) *process {
	c.t.Helper()
	p := c.enter(part...)
	p.expect("at the gate")
	p.say("go")
	return p
}

// start starts a process that plays the part; files are its descriptors from 3 on.
func start(t *testing.T, attr *syscall.SysProcAttr, files []*os.File, part ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, part...)
	cmd.Env = append(os.Environ(), partVariable+"=1")
	cmd.SysProcAttr = attr
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &process{t: t, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}

func (p *process) say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		p.t.Fatalf("tell %v %q: %v", p.cmd.Args[1:], line, err)
	}
}

// hear returns the next line that the process prints, or false if it has ended.
func (p *process) hear() (string, bool) {
	if !p.lines.Scan() {
		return "", false
	}
	return p.lines.Text(), true
}

func (p *process) expect(want string) {
	p.t.Helper()
	if got, _ := p.hear(); got != want {
		p.t.Fatalf("%v said %q, not %q", p.cmd.Args[1:], got, want)
	}
}

// end waits for the process to end and returns its last line and its status.
func (p *process) end() (said string, status syscall.WaitStatus) {
	p.t.Helper()
	for line, ok := p.hear(); ok; line, ok = p.hear() {
		said = line
	}
	p.stdin.Close()
	_ = p.cmd.Wait()
	return said, p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// victim is a process that keeps a secret.
type victim struct {
	*process
	pid     string
	address string
}

func newVictim(t *testing.T, attr *syscall.SysProcAttr) *victim {
	t.Helper()
	return meet(start(t, attr, nil, "victim"))
}

// meet reads the first line of a process that plays a victim: its pid and its secret's address.
func meet(p *process) *victim {
	p.t.Helper()
	line, _ := p.hear()
	pid, address, ok := strings.Cut(line, " ")
	if !ok {
		p.t.Fatalf("the victim said %q", line)
	}
	return &victim{process: p, pid: pid, address: address}
}

// secret returns the current content of the victim's secret.
func (v *victim) secret() string {
	v.t.Helper()
	v.say("show")
	line, _ := v.hear()
	return line
}

func (v *victim) number() int {
	pid, _ := strconv.Atoi(v.pid)
	return pid
}

// records returns all records that are in the container's ring buffer now.
func (c *container) records() []*Record {
	c.t.Helper()
	reader, err := c.node.Reader(c.plan.Identity.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Flush(); err != nil {
		c.t.Fatal(err)
	}
	var all []*Record
	for {
		record, err := reader.Read()
		if errors.Is(err, ErrFlushed) {
			return all
		}
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, record)
	}
}

func (c *container) counters() map[Counter]uint64 {
	c.t.Helper()
	counts, err := c.node.Counters(c.plan.Identity.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	return counts
}

func (c *container) dropped() uint64 {
	c.t.Helper()
	dropped, err := c.node.Dropped(c.plan.Identity.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	return dropped
}

// want is what a record must have; zero fields match anything.
type want struct {
	vector    access.Vector
	operation access.Operation
	relation  access.Relation
	verdict   access.Verdict
	sensor    access.Sensor
	flags     Flags
	target    int
}

// expect returns the first record that matches, and fails the test if there is none.
func (c *container) expect(w want) *Record {
	c.t.Helper()
	records := c.records()
	for _, r := range records {
		if (w.vector == 0 || r.Vector == w.vector) && (w.operation == 0 || r.Operation == w.operation) &&
			(w.relation == 0 || r.Relation == w.relation) && (w.verdict == 0 || r.Verdict == w.verdict) &&
			(w.sensor == 0 || r.Sensor == w.sensor) && r.Flags&w.flags == w.flags &&
			(w.target == 0 || r.Target.PID == w.target) {
			if c.counters()[Counter{r.Vector, r.Verdict, r.Sensor}] == 0 {
				c.t.Errorf("%v is not among the counters: %v", r.Vector, c.counters())
			}
			return r
		}
	}
	c.t.Errorf("none of %d records is %+v; counters: %v, dropped %v", len(records), w, c.counters(), c.dropped())
	for _, r := range records {
		c.t.Logf("%+v", *r)
	}
	return &Record{}
}

// stopped checks that an attack was stopped: refused with an errno, or killed.
func (c *container) stopped(p *process) {
	c.t.Helper()
	said, status := p.end()
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL && said == "":
	case c.node.Tier() == access.TierLSM && status.ExitStatus() == 1 && strings.HasPrefix(said, "failed: "):
	default:
		c.t.Errorf("%v was not stopped: it ended with %v and said %q", p.cmd.Args[1:], status, said)
	}
}

// gotIt checks that an attack succeeded; otherwise the test would prove nothing.
func gotIt(t *testing.T, p *process) {
	t.Helper()
	if said, status := p.end(); status.ExitStatus() != 0 || said != secret {
		t.Fatalf("%v did not get the secret: it ended with %v and said %q", p.cmd.Args[1:], status, said)
	}
}

// stopVerdict returns the verdict on an access that LSM programs refuse if the node has them.
func (n *Node) stopVerdict() access.Verdict {
	if n.tier == access.TierLSM {
		return access.VerdictRefused
	}
	return access.VerdictKilled
}

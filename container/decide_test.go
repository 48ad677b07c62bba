package container

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// fakeKernel is the kernel state of a node with the given tier.
type fakeKernel struct {
	tier             access.Tier
	armed            bool
	unpinned         error
	unheld, uncalled []error // results of successive calls; nil after the last
	guards           map[int]uint64
	leased, foreign  int // a pid
	poses            int // a pid

	mu     sync.Mutex
	counts map[access.Verdict]int // guarded by mu
}

func (k *fakeKernel) Tier() access.Tier                      { return k.tier }
func (k *fakeKernel) Armed() (bool, error)                   { return k.armed, nil }
func (k *fakeKernel) Flows() ([]event.Flow, error)           { return nil, nil }
func (k *fakeKernel) Dropped() (uint64, error)               { return 0, nil }
func (k *fakeKernel) HasLease(pid int, _ bool) (bool, error) { return k.leased == pid, nil }
func (k *fakeKernel) SharesFiles(int) (bool, error)          { return false, nil }
func (k *fakeKernel) Poses(pid int) (bool, error)            { return pid != 0 && k.poses == pid, nil }

func (k *fakeKernel) GuardOf(pid int) (bpf.Guard, error) {
	return bpf.Guard{Cgroup: k.guards[pid], Foreign: pid != 0 && k.foreign == pid}, nil
}
func (k *fakeKernel) Hold() error   { return next(&k.unheld) }
func (k *fakeKernel) Pinned() error { return k.unpinned }
func (k *fakeKernel) Close() error  { return nil }
func (k *fakeKernel) Count(_ access.Vector, verdict access.Verdict) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts == nil {
		k.counts = map[access.Verdict]int{}
	}
	k.counts[verdict]++
}

// testContainer returns a container with the processes that the tests below use: this container's
// init 100 with its child 101, and an exec 110; 200 in the pod's other container; 300 in a
// container of no pod; 400 on the host; 500 is gone.
func testContainer(t *testing.T, mode policy.Mode, profile string) *Container {
	t.Helper()
	config := policy.DefaultConfig()
	config.Paths = policy.Paths{Run: t.TempDir(), BPF: t.TempDir(), Log: t.TempDir()}
	config.DefaultMode, config.DefaultProfile = mode, profile
	cgroups := t.TempDir()
	plan := func(id, sandbox, cgroup string) *policy.Plan {
		annotations := map[string]string{}
		if sandbox != "" {
			annotations["io.kubernetes.cri.sandbox-id"] = sandbox
		}
		p, err := config.Plan(policy.Facts{ID: id, Namespace: "n", Bundle: "/bundles/" + id, Annotations: annotations})
		if err != nil {
			t.Fatal(err)
		}
		storeMember(t, p, filepath.Join(cgroups, cgroup))
		return p
	}
	kernel := &fakeKernel{tier: access.TierTracepoint}
	c := &Container{
		plan:   plan("mine", "pod", "mine"),
		folder: event.NewFolder(event.FolderOptions{Emit: func(event.Event) {}}),
		proc: fakeProc(t, map[int]map[string]string{
			100: {"stat": statLine("init", 1, 10)},
			101: {"stat": statLine("child", 100, 11)},
			110: {"stat": statLine("exec", 1, 12)},
			111: {"stat": statLine("wanderer", 110, 13)},
			200: {"stat": statLine("sibling", 1, 14)},
			300: {"stat": statLine("stranger", 1, 15)},
			400: {"stat": statLine("host", 1, 16)},
		}),
		members:      &members{paths: config.Paths},
		kernel:       kernel,
		observations: make(chan pending, maxPending),
		processes:    map[string]*Process{},
		ready:        make(chan struct{}),
	}
	close(c.ready)
	c.origins.created(c.proc.started(100))
	c.Starting("e1")(110)
	plan("sibling", "pod", "sibling")
	plan("stranger", "", "stranger")
	kernel.guards = map[int]uint64{}
	for pid, cgroup := range map[int]string{100: "mine", 101: "mine", 110: "mine", 200: "sibling", 300: "stranger"} {
		kernel.guards[pid] = inode(t, filepath.Join(cgroups, cgroup))
	}
	return c
}

// inode returns a folder's inode number, which for a cgroup's folder is the cgroup's ID.
func inode(t *testing.T, folder string) uint64 {
	t.Helper()
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// storeMember stores what the hook and the shim store of a container.
func storeMember(t *testing.T, plan *policy.Plan, cgroup string) {
	t.Helper()
	if err := os.MkdirAll(cgroup, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writePlan(plan); err != nil {
		t.Fatal(err)
	}
	text := `{"pid":1,"cgroup":"` + cgroup + `"}`
	if err := os.WriteFile(filepath.Join(plan.Paths.Container(plan.Identity.Key), "enrolled.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDecide(t *testing.T) {
	read := func(actor, target int) seccomp.Call {
		return seccomp.Call{
			Vector: access.VectorProcessVMReadv, Operation: access.OperationRead, Syscall: "process_vm_readv",
			Actor: seccomp.Task{PID: actor, TID: actor}, Target: seccomp.Task{PID: target, TID: target}, Process: 100,
		}
	}
	traceme := func(parent, child int) seccomp.Call {
		call := read(parent, child)
		call.Vector, call.Operation, call.Syscall, call.Request = access.VectorPtrace, access.OperationAttach, "ptrace", "PTRACE_TRACEME"
		return call
	}
	swappable := func(call seccomp.Call) seccomp.Call {
		call.Vector, call.Swappable = access.VectorPidfdGetfd, true
		return call
	}
	ring := func(actor int) seccomp.Call {
		call := swappable(read(actor, actor))
		call.Vector, call.Syscall = access.VectorProcMem, "io_uring_setup"
		return call
	}
	for name, test := range map[string]struct {
		mode    policy.Mode
		profile string
		tier    access.Tier
		call    seccomp.Call
		refused bool
	}{
		"itself":                       {policy.ModeEnforce, policy.ProfileStrict, access.TierTracepoint, read(100, 100), false},
		"a child, baseline":            {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, read(100, 101), false},
		"a child, strict":              {policy.ModeEnforce, policy.ProfileStrict, access.TierTracepoint, read(100, 101), true},
		"a child, strict, audit":       {policy.ModeAudit, policy.ProfileStrict, access.TierTracepoint, read(100, 101), false},
		"the pod's":                    {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, read(100, 200), true},
		"a stranger's":                 {policy.ModeEnforce, policy.ProfileBaseline, access.TierLSM, read(100, 300), true},
		"the host's":                   {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, read(100, 400), true},
		"the host's, audit":            {policy.ModeAudit, policy.ProfileBaseline, access.TierTracepoint, read(100, 400), false},
		"nobody that can be told":      {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, read(100, 0), true},
		"one that is gone":             {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, read(100, 500), true},
		"traced by its parent":         {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, traceme(100, 101), false},
		"traced by its parent, strict": {policy.ModeEnforce, policy.ProfileStrict, access.TierTracepoint, traceme(100, 101), true},
		"traced by the runtime":        {policy.ModeEnforce, policy.ProfileStrict, access.TierTracepoint, traceme(400, 100), false},
		"a changing pidfd":             {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, swappable(read(100, 101)), true},
		"a changing pidfd, lsm":        {policy.ModeEnforce, policy.ProfileBaseline, access.TierLSM, swappable(read(100, 101)), false},
		"a ring":                       {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, ring(100), true},
		"a ring, audit":                {policy.ModeAudit, policy.ProfileStrict, access.TierTracepoint, ring(100), false},
		"a ring, lsm":                  {policy.ModeEnforce, policy.ProfileStrict, access.TierLSM, ring(100), false},
		"a changing pidfd, one's own":  {policy.ModeEnforce, policy.ProfileBaseline, access.TierTracepoint, swappable(read(100, 100)), true},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, test.mode, test.profile)
			c.kernel.(*fakeKernel).tier = test.tier
			answer := c.Decide(t.Context(), test.call)
			if answer.Continue == test.refused {
				t.Errorf("answered %+v", answer)
			}
			if test.refused && answer.Errno != unix.EPERM {
				t.Errorf("refused with %v", answer.Errno)
			}
		})
	}
}

// TestDecidePreparation checks that refusing a ring is no alarm: honest programs make rings, and do
// without them.
func TestDecidePreparation(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	c.kernel.(*fakeKernel).tier = access.TierTracepoint
	call := seccomp.Call{
		Vector: access.VectorProcMem, Operation: access.OperationRead, Syscall: "io_uring_setup", Swappable: true, Preparation: true,
		Actor: seccomp.Task{PID: 100, TID: 100}, Target: seccomp.Task{PID: 100, TID: 100}, Process: 100,
	}
	self := c.sideOf(100)
	deed, parties := c.deed(call, self, self, access.RelationSelf, false)
	if d := c.judge(call, self, self, deed, parties); d.Verdict != access.VerdictRefused || d.Severity != policy.SeverityInfo || d.Quiet {
		t.Errorf("decided %+v", d)
	}
}

// The zero Answer refuses. A container that is not attached yet returns no other.
func TestDecideBeforeReady(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	c.ready = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if answer := c.Decide(ctx, seccomp.Call{}); answer.Continue {
		t.Error("let it through")
	}
}

// An exception must apply only to the executable that was there when the container was created.
func TestExcepted(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileStrict)
	root := t.TempDir()
	gdb := filepath.Join(root, "gdb")
	if err := os.WriteFile(gdb, []byte("a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/gdb", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(gdb, c.proc.path(100, "exe")); err != nil {
		t.Fatal(err)
	}
	for name, paths := range map[string][]string{"by name": {"/gdb"}, "by link": {"/link"}, "upwards": {"/../../gdb"}} {
		c.allow = findAllowed(root, paths)
		if !c.excepted(100, access.RelationChild) {
			t.Errorf("%s: not excepted", name)
		}
		if c.excepted(100, access.RelationSamePod) || c.excepted(101, access.RelationChild) {
			t.Errorf("%s: excepted what was not named", name)
		}
	}
	refused := policy.Decision{Verdict: access.VerdictRefused}
	c.plan.Allow = []string{"/gdb"}
	if c.except(100, access.RelationChild, refused).Verdict == access.VerdictRefused {
		t.Error("not excepted")
	}
	// An exception must end where the container does, also for a call whose target may change to
	// another one.
	call := seccomp.Call{
		Vector: access.VectorPidfdGetfd, Operation: access.OperationAttach,
		Actor: seccomp.Task{PID: 100}, Target: seccomp.Task{PID: 101},
	}
	if !c.Decide(t.Context(), call).Continue {
		t.Error("an allowed executable may not take a descriptor of a child's")
	}
	call.Swappable = true
	if c.Decide(t.Context(), call).Continue {
		t.Error("an allowed executable may take a descriptor of anybody's")
	}
	c.kernel.(*fakeKernel).poses = 100
	if c.except(100, access.RelationChild, refused).Verdict != access.VerdictRefused {
		t.Error("excepted what says that it runs another executable than it execed")
	}
	if found := findAllowed(root, []string{"/nothing", "/"}); len(found) != 0 {
		t.Errorf("granted %v", found)
	}
	tick(t, gdb)
	if err := os.WriteFile(gdb, []byte("b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(gdb, 0o750); err != nil {
		t.Fatal(err)
	}
	if c.excepted(100, access.RelationChild) {
		t.Error("excepted after it was edited")
	}
}

// tick waits until a change of the file would be visible in its change time: before Linux 6.13,
// that is the time of the last clock tick, and ticks are some milliseconds apart.
func tick(t *testing.T, path string) {
	t.Helper()
	changed := func(path string) unix.Timespec {
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			t.Fatal(err)
		}
		return stat.Ctim
	}
	for other := path + ".tick"; ; {
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if changed(other) != changed(path) {
			return
		}
	}
}

// A caller that is interrupted by a signal asks again. Only the answer that it received counts.
func TestCountsEachAnswer(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	kernel := c.kernel.(*fakeKernel)
	call := seccomp.Call{Vector: access.VectorKcmp, Operation: access.OperationInspect, Actor: seccomp.Task{PID: 100}, Target: seccomp.Task{PID: 400}}
	for i := range 5 {
		answer := c.Decide(t.Context(), call)
		if got := kernel.counts[access.VerdictRefused]; got != i {
			t.Errorf("counted %d before the answer", got)
		}
		c.Decide(t.Context(), call)
		answer.Delivered()
	}
	if kernel.counts[access.VerdictRefused] != 5 {
		t.Errorf("counted %v", kernel.counts)
	}
}

// A plan's own rule depends on the files as they were when the container was created, and on a
// user.
func TestOwnRules(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileStrict)
	root := t.TempDir()
	gdb := filepath.Join(root, "gdb")
	if err := os.WriteFile(gdb, []byte("a"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{100, 101} {
		if err := os.Symlink(gdb, c.proc.path(pid, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	user := func(uid string) {
		t.Helper()
		if err := os.WriteFile(c.proc.path(100, "status"), []byte("Uid:\t0\t"+uid+"\t0\t0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.plan.Rule = []policy.Rule{
		{Name: "by-target", Action: policy.ActionObserve, TargetExecutables: []string{"/gdb"}, UIDs: []uint32{8}},
		{Name: "by-user", Action: policy.ActionObserve, UIDs: []uint32{7}, Executables: []string{"/gdb"}, Relations: []access.Relation{access.RelationChild, access.RelationSameContainer}},
	}
	c.ruled = findRuled(root, c.plan)
	call := seccomp.Call{
		Vector: access.VectorProcessVMReadv, Operation: access.OperationRead, Syscall: "process_vm_readv",
		Actor: seccomp.Task{PID: 100, TID: 100}, Target: seccomp.Task{PID: 101, TID: 101},
	}
	ask := func(call seccomp.Call) (allowed bool, rule string) {
		t.Helper()
		actor, target := c.sideOf(100), c.sideOf(101)
		deed, parties := c.deed(call, actor, target, c.relate(actor, target), false)
		decision := c.judge(call, actor, target, deed, parties)
		return decision.Verdict == access.VerdictObserved, decision.Rule
	}
	user("7")
	if allowed, rule := ask(call); !allowed || rule != "strict.by-user" {
		t.Errorf("all that it asks fits: %t by %s", allowed, rule)
	}
	user("8")
	if allowed, rule := ask(call); !allowed || rule != "strict.by-target" {
		t.Errorf("the target fits: %t by %s", allowed, rule)
	}
	swappable := call
	swappable.Swappable = true
	if allowed, rule := ask(swappable); allowed || rule == "strict.by-target" {
		t.Errorf("the target may be another when the kernel looks: %t by %s", allowed, rule)
	}
	user("9")
	if allowed, rule := ask(call); allowed || rule != "strict.child" {
		t.Errorf("another user: %t by %s", allowed, rule)
	}
	user("7")
	tick(t, gdb)
	if err := os.WriteFile(gdb, []byte("b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if allowed, rule := ask(call); allowed || rule != "strict.child" {
		t.Errorf("edited: %t by %s", allowed, rule)
	}
	deed := policy.Deed{Vector: call.Vector, Operation: call.Operation, Relation: access.RelationChild}
	if got := c.voided("/gdb", "", 7, deed); !strings.HasPrefix(got, "void: /gdb ") || !strings.Contains(got, "by-user") {
		t.Errorf("edited: %q", got)
	}
	if err := os.Symlink("/gdb", filepath.Join(root, "debugger")); err != nil {
		t.Fatal(err)
	}
	c.plan.Allow = []string{"/debugger"}
	c.aliases = findAliases(root, c.plan)
	if got := c.voided("/gdb", "", 9, deed); !strings.HasPrefix(got, "void: /debugger ") {
		t.Errorf("allowed by a link: %q", got)
	}
	c.plan.Allow = nil
	if got := c.voided("/gdb", "", 9, deed); got != "" {
		t.Errorf("edited, and the rule is for another user: %q", got)
	}
}

package container

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// deadContainer creates what a container whose shim was killed leaves behind.
func deadContainer(t *testing.T, paths policy.Paths, bundle string) *policy.Plan {
	t.Helper()
	config := policy.DefaultConfig()
	config.Paths = paths
	plan, err := config.Plan(policy.Facts{ID: "dead", Namespace: "n", Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	storeMember(t, plan, filepath.Join(t.TempDir(), "cgroup"))
	return plan
}

func testPaths(t *testing.T) policy.Paths {
	t.Helper()
	return policy.Paths{Run: t.TempDir(), BPF: t.TempDir(), Log: t.TempDir()}
}

func populate(t *testing.T, plan *policy.Plan, populated string) {
	t.Helper()
	enrolment, err := ReadEnrolment(plan.Paths, plan.Identity.Key)
	if err != nil {
		t.Fatal(err)
	}
	text := "populated " + populated + "\nfrozen 0\n"
	if err := os.WriteFile(filepath.Join(enrolment.Cgroup, "cgroup.events"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestReleaseDead(t *testing.T) {
	paths := testPaths(t)
	text, err := hooks.Edit([]byte(`{}`), hooks.Entry{Binary: "/b", Run: paths.Run})
	if err != nil {
		t.Fatal(err)
	}
	bundle := bundleWith(t, string(text))
	plan := deadContainer(t, paths, bundle)
	folder := paths.Container(plan.Identity.Key)

	populate(t, plan, "1")
	ReleaseDead(t.Context(), "dead", bundle, Exit{})
	if !exists(folder) {
		t.Fatal("the guard of living processes was released")
	}
	populate(t, plan, "0")
	for range 2 { // the second time, there is nothing left to do
		ReleaseDead(t.Context(), "dead", bundle, Exit{PID: 7, Code: 137})
		if exists(folder) {
			t.Fatal("left the container's folder")
		}
	}
	c := &Container{plan: plan}
	events := storedEvents(t, c)
	if len(events) != 1 || events[0].Kind != event.KindDeleted || *events[0].ExitCode != 137 {
		t.Errorf("recorded %+v", events)
	}
}

func TestReleaseDeadOfTheUnguarded(t *testing.T) {
	for name, config := range map[string]string{"no spec": "", "off": `{"hooks":{"createRuntime":[{"path":"/x"}]}}`, "garbage": "{"} {
		bundle := t.TempDir()
		if config != "" {
			bundle = bundleWith(t, config)
		}
		ReleaseDead(t.Context(), "x", bundle, Exit{})
		if after, err := os.ReadFile(filepath.Join(bundle, "config.json")); err == nil && string(after) != config {
			t.Errorf("%s: changed it", name)
		}
	}
}

func TestRemoveCgroups(t *testing.T) {
	v1, v2, other := t.TempDir(), t.TempDir(), t.TempDir()
	mounts := "30 20 0:1 / " + v1 + " rw - cgroup cgroup rw,cpu\n" +
		"31 20 0:2 / " + v2 + " rw shared:4 - cgroup2 cgroup2 rw\n" +
		"32 20 0:3 / " + other + " rw - tmpfs tmpfs rw\n33 20 0:3 /x " + other + " rw - cgroup cgroup rw\nbroken\n"
	for _, root := range []string{v1, v2, other} {
		for _, path := range []string{"ns/empty", "ns/full/child"} {
			if err := os.MkdirAll(filepath.Join(root, path), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range []string{"/ns/empty", "/ns/full", "/", "", "ns/full/child", "system.slice:x:y", "/../../etc"} {
		removeCgroups(strings.NewReader(mounts), path)
	}
	for root, gone := range map[string]bool{v1: true, v2: true, other: false} {
		if exists(filepath.Join(root, "ns/empty")) == gone {
			t.Errorf("%s: the empty one is gone: %v", root, !gone)
		}
		if !exists(filepath.Join(root, "ns/full/child")) {
			t.Errorf("%s: removed one that was not empty, or not named", root)
		}
	}
}

func TestReconcile(t *testing.T) {
	paths := testPaths(t)
	bundle := t.TempDir()
	plan := deadContainer(t, paths, bundle)
	folder := paths.Container(plan.Identity.Key)
	making, stale := paths.Container("making-1"), paths.Container("stale-1")
	for _, dir := range []string{making, stale} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * young)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	run := func() {
		t.Helper()
		if err := reconcile(t.Context(), paths); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if !exists(folder) || !exists(making) || exists(stale) {
		t.Errorf("with a bundle: kept it %v, kept one in the making %v, kept a stale one %v", exists(folder), exists(making), exists(stale))
	}
	if err := os.Remove(bundle); err != nil {
		t.Fatal(err)
	}
	populate(t, plan, "1")
	run()
	if !exists(folder) {
		t.Error("released a container whose processes live, because its bundle is gone")
	}
	populate(t, plan, "0")
	run()
	if exists(folder) {
		t.Error("kept a container that is gone")
	}
	if events := storedEvents(t, &Container{plan: plan}); len(events) != 1 || events[0].Kind != event.KindDeleted || events[0].ExitCode != nil {
		t.Errorf("recorded %+v", events)
	}
}

// What one process creates while another cleans up must not be mistaken for what was there before.
func TestReconcileBeside(t *testing.T) {
	for name, made := range map[string]bool{"begun": false, "made": true} {
		t.Run(name, func(t *testing.T) {
			paths := testPaths(t)
			bundle := filepath.Join(t.TempDir(), "bundle")
			plan := deadContainer(t, paths, bundle)
			store, err := event.OpenStore(paths.Events(plan.Identity.Key), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			synctest.Test(t, func(t *testing.T) {
				done := make(chan error, 1)
				go func() { done <- reconcile(t.Context(), paths) }()
				synctest.Wait() // it has found the container dead, and its store busy
				if err := os.Mkdir(bundle, 0o700); err != nil {
					t.Fatal(err)
				}
				if made {
					store.Close()
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			if !exists(paths.Container(plan.Identity.Key)) {
				t.Error("removed what another makes")
			}
		})
	}
}

// Whoever waits to create another container with a key must find nothing of the previous one, and
// lose nothing to it.
func TestEndBeside(t *testing.T) {
	for name, end := range map[string]func(context.Context, *Container, *Cleanup){
		"finished": func(ctx context.Context, c *Container, _ *Cleanup) { c.Finish(ctx) },
		"undone":   func(_ context.Context, _ *Container, undo *Cleanup) { undo.Run() },
	} {
		t.Run(name, func(t *testing.T) {
			plan := deadContainer(t, testPaths(t), t.TempDir())
			folder, events := plan.Paths.Container(plan.Identity.Key), plan.Paths.Events(plan.Identity.Key)
			undo := &Cleanup{}
			c, err := open(t.Context(), plan, policy.DefaultConfig().Store, undo)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 1000 { // so that the removal takes a while
				if err := os.WriteFile(filepath.Join(folder, strconv.Itoa(i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			left := make(chan bool, 1)
			go func() {
				next, err := event.OpenStore(events, 1<<20)
				for errors.Is(err, event.ErrBusy) { // as on a slow disk
					next, err = event.OpenStore(events, 1<<20)
				}
				left <- err == nil && exists(folder)
				if err == nil {
					err = next.Close()
				}
				if err != nil {
					t.Error(err)
				}
				close(left)
			}()
			end(t.Context(), c, undo)
			if <-left {
				t.Error("another was made before this one's state was gone")
			}
			<-left
			if !exists(filepath.Join(events, "lock")) {
				t.Error("the next one's store was removed")
			}
		})
	}
}

// Removing the files of a running container must not cost its processes their guard.
func TestReconcileWithoutFiles(t *testing.T) {
	paths := testPaths(t)
	paths.BPF = filepath.Join(testenv.BPF(t), "shimward")
	plan := deadContainer(t, paths, t.TempDir())
	node, err := bpf.Ensure(bpf.NodeOptions{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	cgroup, pid := crowd(t)
	if err := node.Enrol(plan, pid, cgroup); err != nil {
		t.Fatal(err)
	}
	folder := paths.Container(plan.Identity.Key)
	if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * young)
	if err := os.Chtimes(folder, old, old); err != nil {
		t.Fatal(err)
	}
	if err := reconcile(t.Context(), paths); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Armed(plan.Identity.Key); err != nil || !exists(folder) {
		t.Errorf("released a container whose processes live: %v", err)
	}
}

// crowd creates a cgroup with a process in it.
func crowd(t *testing.T) (cgroup string, pid int) {
	t.Helper()
	cgroup, err := os.MkdirTemp(testenv.Cgroup2(t), "shimward-test-") //nolint:usetesting // a cgroup is no temporary folder
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(cgroup); err != nil {
			t.Error(err)
		}
	})
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(testenv.Program(t, "sleep"), "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cgroup, cmd.Process.Pid
}

// Whoever lists the plans while containers are created must find each of them complete, or not yet.
func TestPlansWhileWritten(t *testing.T) {
	paths := testPaths(t)
	plan := deadContainer(t, paths, t.TempDir())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			if err := writePlan(plan); err != nil {
				t.Error(err)
			}
		}
	}()
	defer func() { <-done }()
	for {
		if _, err := guarded.Plans(paths); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestMembers(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	m := c.members
	one, ok := m.find(func(m member) bool { return m.plan.Identity.ID == "sibling" })
	if !ok {
		t.Fatal("not found")
	}
	if got, ok := m.byID(one.cgroupID); !ok || got.plan.Identity.ID != "sibling" {
		t.Errorf("by its number: %v", ok)
	}
	if _, ok := m.byID(0); ok {
		t.Error("found number 0")
	}
	// A container that is created later must be found, and one that is removed must not.
	late := deadContainer(t, c.plan.Paths, "/bundles/late")
	if _, ok := m.find(func(m member) bool { return m.plan.Identity.ID == "dead" }); !ok {
		t.Error("did not find one that came later")
	}
	if err := os.RemoveAll(c.plan.Paths.Container(late.Identity.Key)); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.find(func(m member) bool { return m.plan.Identity.ID == "dead" }); ok {
		t.Error("found one that is gone")
	}
}

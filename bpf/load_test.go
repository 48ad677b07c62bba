package bpf

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

func TestEnsureAtOnce(t *testing.T) {
	options := NodeOptions{Paths: policy.Paths{Run: t.TempDir(), BPF: filepath.Join(testenv.BPF(t), "shimward")}}
	if _, err := Open(options); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open before there is a node: %v", err)
	}
	// The leftovers of a loader that was killed halfway.
	if err := os.MkdirAll(filepath.Join(options.Paths.BPF, freshNode, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			node, err := Ensure(options)
			if err != nil {
				t.Error(err)
				return
			}
			if err := node.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	found, err := os.ReadDir(options.Paths.BPF)
	if err != nil || len(found) != 1 || !strings.HasPrefix(found[0].Name(), nodePrefix) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestEnsureWithoutBPFFS(t *testing.T) {
	testenv.Root(t)
	_, err := Ensure(NodeOptions{Paths: policy.Paths{Run: t.TempDir(), BPF: t.TempDir()}})
	if err == nil || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Errorf("%v", err)
	}
}

// Root removed the sensor's link: no container must start with what is left.
func TestOpenTamperedNode(t *testing.T) {
	node := newNode(t)
	if err := os.Remove(filepath.Join(node.dir, pinComplete)); err != nil {
		t.Fatal(err)
	}
	_, err := Ensure(NodeOptions{Paths: node.paths})
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), pinComplete) {
		t.Errorf("%v", err)
	}
}

func TestEnrolRefuses(t *testing.T) {
	node := newNode(t)
	c := newContainer(t, node, plan("first", policy.ModeEnforce, allObserved()))
	p := c.run("sleep")
	pid := p.cmd.Process.Pid
	bad := plan("bad-rule", policy.ModeEnforce, allObserved())
	bad.Rules.Host = "perhaps"
	missing := plan("missing", policy.ModeEnforce, allObserved())
	missing.Allow = []string{"/no/such/file"}
	folder := plan("folder", policy.ModeEnforce, allObserved())
	folder.Allow = []string{"/etc"}
	lsm := plan("without-lsm", policy.ModeEnforce, allObserved())
	lsm.WithoutLSM = policy.WithoutLSMRefuse
	free := newContainer(t, node, plan("free", policy.ModeOff, allObserved()))
	for name, test := range map[string]struct {
		plan   *policy.Plan
		cgroup string
		says   string
	}{
		"a cgroup twice":      {plan("second", policy.ModeEnforce, allObserved()), c.cgroup, "another guarded container"},
		"no cgroup v2":        {plan("v1", policy.ModeEnforce, allObserved()), "/sys", "no cgroup v2"},
		"the root cgroup":     {plan("root", policy.ModeEnforce, allObserved()), testenv.Cgroup2(t), "root of the hierarchy"},
		"no such cgroup":      {plan("none", policy.ModeEnforce, allObserved()), "/no/such", "look at the cgroup"},
		"an unknown action":   {bad, free.cgroup, "unknown action"},
		"a missing exception": {missing, free.cgroup, "no such file in the image"},
		"a folder allowed":    {folder, free.cgroup, "no executable"},
		"no key":              {plan("", policy.ModeEnforce, allObserved()), free.cgroup, "no container's key"},
		"a key with a slash":  {plan("../x", policy.ModeEnforce, allObserved()), free.cgroup, "no container's key"},
	} {
		t.Run(name, func(t *testing.T) {
			err := node.Enrol(test.plan, pid, test.cgroup)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
	keys, err := keysOf(node.dir)
	if err != nil || len(keys) != 1 || keys["first"] == 0 {
		t.Errorf("refused containers left something: %v, %v", keys, err)
	}
	pins, err := os.ReadDir(filepath.Dir(node.paths.Pins("x")))
	if err != nil || len(pins) != 1 {
		t.Errorf("refused containers left pins: %v, %v", pins, err)
	}
}

func TestReconcile(t *testing.T) {
	node := newNode(t)
	// "lost" still has a running process, but the files that say it is alive were removed.
	for _, key := range []string{"alive", "dead", "lost"} {
		c := newContainer(t, node, plan(key, policy.ModeEnforce, allObserved()))
		c.run("sleep")
		if key == "dead" {
			if err := removeCgroup(c.cgroup); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(c.cgroup, 0o700); err != nil { // for newContainer to remove
				t.Fatal(err)
			}
		}
	}
	if err := node.Prepare("prepared-and-dead"); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"alive": true, "dead": false, "lost": true, "prepared-and-dead": false, "nobody": false, "../x": false} {
		if got := Populated(node.paths, key); got != want {
			t.Errorf("%s is populated: %v", key, got)
		}
	}
	if err := Reconcile(node.paths, func(key string) bool { return key == "alive" }); err != nil {
		t.Fatal(err)
	}
	keys, err := keysOf(node.dir)
	if err != nil || len(keys) != 2 || keys["alive"] == 0 || keys["lost"] == 0 {
		t.Errorf("%v, %v", keys, err)
	}
	pins, err := os.ReadDir(filepath.Dir(node.paths.Pins("x")))
	if err != nil || len(pins) != 2 {
		t.Errorf("pins of the dead: %v, %v", pins, err)
	}
}

// Held links keep guarding when all pins are gone.
func TestHold(t *testing.T) {
	node := newNode(t)
	c := newContainer(t, node, plan("held", policy.ModeEnforce, allObserved()))
	c.run("sleep").expect("asleep")
	broken := filepath.Join(node.paths.Pins("held"), pinLink("zz"))
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := node.Hold("held"); err == nil {
		t.Error("held what is no link")
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	partly := maps.Clone(node.held)
	for range 2 { // a failed Hold can be repeated, and what is held stays held
		if err := node.Hold("held"); err != nil {
			t.Fatal(err)
		}
	}
	for pin, opened := range partly {
		if node.held[pin] != opened {
			t.Errorf("%s was opened again", pin)
		}
	}
	if len(partly) == 0 {
		t.Error("nothing was held before the failure")
	}
	if err := node.Pinned("held"); err != nil {
		t.Error(err)
	}
	reader, err := node.Reader("held")
	if err != nil {
		t.Fatal(err)
	}
	shut(reader)
	if err := os.RemoveAll(node.paths.BPF); err != nil {
		t.Fatal(err)
	}
	if err := node.Pinned("held"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pins are gone: %v", err)
	}
	if armed, err := node.Armed("held"); err != nil || !armed {
		t.Errorf("armed: %v, %v", armed, err)
	}
	c.join("self-write").end()
	counts, err := node.Counters("held")
	if err != nil || len(counts) == 0 {
		t.Errorf("counted %v, %v", counts, err)
	}
}

// The digest that names the directory of the pins must be that of the object.
func TestDigestIsOfTheObject(t *testing.T) {
	sum := sha256.Sum256(_KernelBytes)
	if digest := hex.EncodeToString(sum[:6]); digest != kernelDigest {
		t.Errorf("the object's digest is %s, and what was generated says %s: run make generate", digest, kernelDigest)
	}
}

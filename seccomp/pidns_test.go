//go:build cgo

package seccomp

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestScan checks the two ways to translate a pid against each other.
func TestScan(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	child, thread := p.must("fork"), p.must("thread")
	nested := p.must("unshare")
	ns, err := os.Open(s.proc.path(p.pid(), "ns", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	for inside, what := range map[int]string{1: "the namespace's init", child: "a child", thread: "a thread", nested: "a child in a namespace below"} {
		scanned, err := s.proc.scan(ns, 1, inside)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		st, err := s.proc.status(scanned)
		if err != nil || st.inside[1] != inside {
			t.Errorf("%s: %d is %+v, %v", what, scanned, st, err)
		}
		switch direct, err := translate(ns, inside); {
		case errors.Is(err, errNoIoctl):
			t.Log("this kernel cannot confirm it")
		case err != nil || direct != scanned:
			t.Errorf("%s: %d by the ioctl (%v), %d by the scan", what, direct, err, scanned)
		}
	}
	for _, inside := range []int{12345, -1} {
		if _, err := s.proc.scan(ns, 1, inside); !errors.Is(err, errGone) {
			t.Errorf("scan for %d: %v", inside, err)
		}
		if _, err := translate(ns, inside); !errors.Is(err, errGone) && !errors.Is(err, errNoIoctl) {
			t.Errorf("translate %d: %v", inside, err)
		}
	}
	// Another namespace also has a pid 1, which comes later in proc.
	other := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	theirs, err := os.Open(s.proc.path(other.pid(), "ns", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	for ns, want := range map[*os.File]int{ns: p.pid(), theirs: other.pid()} {
		if pid, err := s.proc.scan(ns, 1, 1); err != nil || pid != want {
			t.Errorf("1 is %d (%v), want %d", pid, err, want)
		}
	}
}

// TestSearch checks that what was seen once is only a guess the next time.
func TestSearch(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	other := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	ns, err := os.Open(s.proc.path(p.pid(), "ns", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	r := &resolver{proc: s.proc, slow: &s.slow, seen: &s.seen}
	for _, guess := range []int{0, p.pid(), other.pid(), os.Getpid(), 1 << 22} {
		if guess != 0 {
			r.seen.keep(ns, 1, guess)
		}
		if pid, err := r.search(ns, 1, 1); err != nil || pid != p.pid() {
			t.Errorf("with the guess %d, 1 is %d (%v), want %d", guess, pid, err, p.pid())
		}
		if kept := r.seen.find(ns, 1); kept != p.pid() {
			t.Errorf("%d is remembered, want %d", kept, p.pid())
		}
	}
	for pid := range 3 * maxSeen {
		r.seen.keep(ns, pid, 1)
	}
	if len(r.seen.tasks) > maxSeen {
		t.Errorf("%d tasks are remembered", len(r.seen.tasks))
	}
}

// TestListenerNested has a caller two pid namespaces below the listener's, and a target in the
// caller's namespace.
func TestListenerNested(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{})
	p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	p.must("unshare") // children from here on are in a nested namespace
	if _, errno := p.say("c %d 1", unix.SYS_PROCESS_VM_READV); errno != unix.EPERM {
		t.Fatalf("%v, want EPERM", errno)
	}
	call := s.only(t)
	init, err := s.proc.status(call.Target.PID)
	if err != nil {
		t.Fatal(err)
	}
	if len(init.inside) != 3 || init.inside[2] != 1 || call.Actor.PID == call.Target.PID || call.TargetInside != 1 {
		t.Errorf("%+v, target %+v", call, init)
	}
}

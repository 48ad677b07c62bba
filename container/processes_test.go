package container

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shimward/shimward/policy"
)

func TestExitIsRecordedOnce(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	withStore(t, c)
	first := c.Announce("e", []string{"/bin/sh", "-c", "true"})
	first.RecordStart(t.Context(), 7)
	for range 3 {
		c.Process("e").RecordExit(7, new(1), time.Now())
	}
	c.Process("never ran").RecordExit(0, new(1), time.Now())
	first.Forget()
	c.Process("e").RecordExit(7, new(1), time.Now()) // published late: the process has already been deleted
	if len(c.processes) != 0 {
		t.Errorf("%d processes are left", len(c.processes))
	}
	second := c.Announce("e", nil)
	c.Process("e").RecordExit(7, new(1), time.Now()) // even later
	second.RecordStart(t.Context(), 8)
	c.Process("e").RecordExit(8, new(0), time.Now())
	wantTold(t, c, "exec 7", "exited 7: 1", "exec 8", "exited 8: 0")
	p := storedEvents(t, c)[1].Process
	if p.Comm != "sh" || p.Cmdline != "/bin/sh -c true" || p.Origin.ExecID != "e" {
		t.Errorf("got %+v", p)
	}
}

// An exec may be gone before whoever started it has reported its pid.
func TestExitBeforeStart(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	withStore(t, c)
	quick := c.Announce("quick", []string{"/bin/true"})
	quick.RecordExit(7, new(0), time.Now())
	quick.RecordStart(t.Context(), 7)
	quick.Forget()
	failed := c.Announce("failed", []string{"/bin/true"})
	failed.RecordExit(8, new(1), time.Now())
	failed.RecordExit(8, new(1), time.Now())
	failed.Forget()
	wantTold(t, c, "exec 7", "exited 7: 0", "exited 8: 1")
}

// An exec may end while its start is being recorded.
func TestExitBesideStart(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	withStore(t, c)
	var want []string
	for pid := 1000; pid < 1200; pid++ {
		p := c.Announce("e", []string{"/bin/true"})
		var told sync.WaitGroup
		told.Go(func() {
			for range 100 { // several report it; the first one that is accepted counts
				p.RecordExit(pid, new(0), time.Now())
			}
		})
		p.RecordStart(t.Context(), pid)
		told.Wait()
		p.Forget()
		want = append(want, fmt.Sprintf("exec %d", pid), fmt.Sprintf("exited %d: 0", pid))
	}
	wantTold(t, c, want...)
}

// What is reported of a process must not be taken for what is reported of the next one with its
// exec ID.
func TestExecIDTakenAgain(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	withStore(t, c)
	first := c.Announce("probe", []string{"/bin/first"})
	first.RecordStart(t.Context(), 7)
	second := c.Announce("probe", []string{"/bin/second"})
	first.RecordExit(7, new(1), time.Now())
	first.Forget()
	second.RecordStart(t.Context(), 8)
	second.RecordExit(8, new(2), time.Now())
	second.Forget()
	wantTold(t, c, "exec 7", "exited 7: 1", "exec 8", "exited 8: 2")
	if events := storedEvents(t, c); events[1].Process.Comm != "first" || events[3].Process.Comm != "second" {
		t.Errorf("got %+v and %+v", events[1].Process, events[3].Process)
	}
}

// wantTold checks that these records, and no others, were stored in this order: a kind, a pid and
// an exit code.
func wantTold(t *testing.T, c *Container, want ...string) {
	t.Helper()
	var got []string
	for _, e := range storedEvents(t, c) {
		text := fmt.Sprintf("%s %d", e.Kind, e.Process.PID)
		if e.ExitCode != nil {
			text += fmt.Sprintf(": %d", *e.ExitCode)
		}
		got = append(got, text)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

package container

import (
	"testing"
	"testing/synctest"
	"time"
)

// first returns the first process with a pid.
func first(pid int) started { return started{pid: pid, start: 7} }

func TestOrigins(t *testing.T) {
	var o origins
	o.created(first(10))
	o.begin("e1")(first(20))
	o.begin("failed")(started{})
	for pid, want := range map[int]string{10: originEntrypoint, 20: originExec, 30: originUnknown, 0: originUnknown} {
		if got := o.of(t.Context(), first(pid)); got.Kind != want || pid > 0 && got.PID != pid {
			t.Errorf("pid %d: %+v, want %s", pid, got, want)
		}
	}
	if got := o.of(t.Context(), first(20)); got.ExecID != "e1" {
		t.Errorf("got %+v", got)
	}
	if got := o.above([]started{first(31), first(30), first(20), first(10)}); got != first(20) {
		t.Errorf("above: %+v", got)
	}
	if got := o.above([]started{first(31), first(30), first(1)}); got.pid != 0 {
		t.Errorf("above nobody: %+v", got)
	}
}

// A pid may be reused, in the container or anywhere on the node, by a different process.
func TestOriginsTellPidsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o origins
		o.created(first(10))
		o.begin("e1")(first(20))
		o.begin("e2")(started{pid: 30}) // it ended before it was examined
		for _, later := range []started{{10, 8}, {20, 8}, {30, 8}} {
			if o.has(later) {
				t.Errorf("%+v is taken for an earlier one", later)
			}
			if got := o.of(t.Context(), later); got.Kind != originUnknown {
				t.Errorf("%+v: %+v", later, got)
			}
		}
		for pid, want := range map[int]string{10: "", 20: "e1", 30: "e2"} {
			gone := started{pid: pid}
			if o.has(gone) {
				t.Errorf("%d is nobody, and the container's", pid)
			}
			if got := o.of(t.Context(), gone); got.Kind == originUnknown || got.ExecID != want {
				t.Errorf("what came from %d, which is gone: %+v", pid, got)
			}
		}
		begun := o.begin("e4")
		seen := started{40, sinceBoot()} // while the exec is being started
		begun(started{pid: 40})
		if got := o.of(t.Context(), seen); got.ExecID != "e4" {
			t.Errorf("one that was seen, and was gone when its pid was told: %+v", got)
		}
		begun = o.begin("e3")
		begin := time.Now()
		for range 100 {
			o.of(t.Context(), started{20, 8})
		}
		if waited := time.Since(begin); waited != originPatience {
			t.Errorf("waited %v for one that nobody said", waited)
		}
		if got := o.of(t.Context(), first(20)); got.ExecID != "e1" {
			t.Errorf("what the earlier one left behind: %+v", got)
		}
		begun(started{20, 8})
		if got := o.of(t.Context(), started{20, 8}); got.ExecID != "e3" {
			t.Errorf("another exec of that pid: %+v", got)
		}
	})
}

// A process can be seen before the runtime has reported which exec it is.
func TestOriginsWaitForAnExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o origins
		o.created(first(10))
		begun := o.begin("e1")
		other := o.begin("e2")
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's time
			other(first(30))
			time.Sleep(time.Second / 2) //nolint:forbidigo // the bubble's time
			begun(first(20))
		}()
		if got := o.of(t.Context(), first(20)); got.ExecID != "e1" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOriginsWaitNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o origins
		o.created(first(10))
		begun := o.begin("e1") // hangs
		begin := time.Now()
		for range 100 {
			if got := o.of(t.Context(), first(20)); got.Kind != originUnknown {
				t.Fatalf("got %+v", got)
			}
		}
		if waited := time.Since(begin); waited != originPatience {
			t.Errorf("waited %v", waited)
		}
		if o.has(first(20)) {
			t.Error("a process that nobody named is taken for an exec")
		}
		begun(first(20))
		if got := o.of(t.Context(), first(20)); got.ExecID != "e1" {
			t.Errorf("in the end: %+v", got)
		}
	})
}

func TestOriginsAreBounded(t *testing.T) {
	var o origins
	for pid := 1; pid <= 3*maxExecs; pid++ {
		o.begin("e")(first(pid))
	}
	if len(o.execs) != maxExecs || len(o.order) != maxExecs {
		t.Errorf("%d execs, %d in order", len(o.execs), len(o.order))
	}
	if o.has(first(1)) || !o.has(first(3*maxExecs)) {
		t.Error("the wrong ones were forgotten")
	}
}

func TestTracedIsBounded(t *testing.T) {
	var tr traced
	for pid := 1; pid <= 3*maxTraced; pid++ {
		tr.add(pair{tracer: 1, tracee: pid, start: 5})
		tr.add(pair{tracer: 1, tracee: pid, start: 5})
	}
	if len(tr.tracers) != maxTraced || len(tr.order) != maxTraced {
		t.Errorf("%d pairs, %d in order", len(tr.tracers), len(tr.order))
	}
	if tr.has(pair{tracer: 1, tracee: 3 * maxTraced, start: 6}) {
		t.Error("took a process for an earlier one with its pid")
	}
}

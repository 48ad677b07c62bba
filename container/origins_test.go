package container

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOrigins(t *testing.T) {
	var o origins
	o.created(10)
	o.begin("e1")(20)
	o.begin("failed")(0)
	for pid, want := range map[int]string{10: originEntrypoint, 20: originExec, 30: originUnknown, 0: originUnknown} {
		if got := o.of(t.Context(), pid); got.Kind != want || pid > 0 && got.PID != pid {
			t.Errorf("pid %d: %+v, want %s", pid, got, want)
		}
	}
	if got := o.of(t.Context(), 20); got.ExecID != "e1" {
		t.Errorf("got %+v", got)
	}
	if got := o.above([]int{31, 30, 20, 10}); got != 20 {
		t.Errorf("above: %d", got)
	}
	if got := o.above([]int{31, 30, 1}); got != 0 {
		t.Errorf("above nobody: %d", got)
	}
}

// A process can be seen before the runtime has said which exec it is.
func TestOriginsWaitForAnExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o origins
		o.created(10)
		started := o.begin("e1")
		other := o.begin("e2")
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's time
			other(30)
			time.Sleep(time.Second / 2) //nolint:forbidigo // the bubble's time
			started(20)
		}()
		if got := o.of(t.Context(), 20); got.ExecID != "e1" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOriginsWaitNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o origins
		o.created(10)
		started := o.begin("e1") // hangs
		begin := time.Now()
		for range 100 {
			if got := o.of(t.Context(), 20); got.Kind != originUnknown {
				t.Fatalf("got %+v", got)
			}
		}
		if waited := time.Since(begin); waited != originPatience {
			t.Errorf("waited %v", waited)
		}
		if o.has(20) {
			t.Error("a process that nobody named is taken for an exec")
		}
		started(20)
		if got := o.of(t.Context(), 20); got.ExecID != "e1" {
			t.Errorf("in the end: %+v", got)
		}
	})
}

func TestOriginsAreBounded(t *testing.T) {
	var o origins
	for pid := 1; pid <= 3*maxExecs; pid++ {
		o.begin("e")(pid)
	}
	if len(o.execs) != maxExecs || len(o.order) != maxExecs {
		t.Errorf("%d execs, %d in order", len(o.execs), len(o.order))
	}
	if o.has(1) || !o.has(3*maxExecs) {
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

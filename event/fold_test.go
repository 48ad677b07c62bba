package event

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shimward/shimward/access"
)

// observe returns an access by actor to target as a sensor saw it.
func observe(actor, target int, sensor access.Sensor, verdict access.Verdict) Observation {
	return Observation{
		Access: Access{
			Vector: access.VectorPtrace, Operation: access.OperationAttach, Relation: access.RelationSamePod, Verdict: verdict,
			Actor: Process{PID: actor}, Target: Process{PID: target}, Rule: sensor.String() + "-rule",
		},
		Severity: SeverityWarning, Sensor: sensor,
	}
}

// pass lets time pass; in a synctest bubble, that is instantaneous.
func pass(duration time.Duration) { <-time.After(duration) }

// summary returns the part of an event that tests compare.
func summary(e Event) string {
	return fmt.Sprintf("%d>%d %s %v x%d", e.Access.Actor.PID, e.Access.Target.PID, e.Access.Verdict, e.Access.Sensors, e.Access.Count)
}

func TestFold(t *testing.T) {
	const (
		seccomp, lsm, touch       = access.SensorSeccomp, access.SensorLSM, access.SensorAccess
		observed, refused, killed = access.VerdictObserved, access.VerdictRefused, access.VerdictKilled
	)
	started := func(o Observation, at uint64) Observation { o.ActorStart = at; return o }
	inbound := func(o Observation) Observation { o.Access.Inbound = true; return o }
	counted := func(o Observation, count uint64) Observation { o.Count = count; return o }
	vector := func(o Observation, v access.Vector) Observation { o.Access.Vector = v; return o }
	for name, test := range map[string]struct {
		in   []Observation
		want []string
	}{
		"one":                             {[]Observation{observe(1, 2, lsm, refused)}, []string{"1>2 refused [lsm] x1"}},
		"two sensors":                     {[]Observation{observe(1, 2, seccomp, observed), observe(1, 2, lsm, refused)}, []string{"1>2 refused [lsm seccomp] x1"}},
		"three sensors, three times":      {slices.Repeat([]Observation{observe(1, 2, seccomp, observed), observe(1, 2, lsm, observed), observe(1, 2, touch, observed)}, 3), []string{"1>2 observed [access lsm seccomp] x3"}},
		"killed beats all":                {[]Observation{observe(1, 2, touch, killed), observe(1, 2, seccomp, observed)}, []string{"1>2 killed [access seccomp] x1"}},
		"the most of any sensor":          {[]Observation{observe(1, 2, lsm, observed), counted(observe(1, 2, touch, observed), 500), observe(1, 2, touch, observed)}, []string{"1>2 observed [access lsm] x501"}},
		"no overflow":                     {[]Observation{counted(observe(1, 2, lsm, observed), math.MaxUint64), observe(1, 2, lsm, observed)}, []string{fmt.Sprintf("1>2 observed [lsm] x%d", uint64(math.MaxUint64))}},
		"targets":                         {[]Observation{observe(1, 2, lsm, refused), observe(1, 3, lsm, refused)}, []string{"1>2 refused [lsm] x1", "1>3 refused [lsm] x1"}},
		"actors":                          {[]Observation{observe(1, 2, lsm, refused), observe(3, 2, lsm, refused)}, []string{"1>2 refused [lsm] x1", "3>2 refused [lsm] x1"}},
		"vectors":                         {[]Observation{observe(1, 2, lsm, refused), vector(observe(1, 2, lsm, refused), access.VectorKcmp)}, []string{"1>2 refused [lsm] x1", "1>2 refused [lsm] x1"}},
		"directions":                      {[]Observation{observe(1, 2, lsm, refused), inbound(observe(1, 2, lsm, refused))}, []string{"1>2 refused [lsm] x1", "1>2 refused [lsm] x1"}},
		"one sensor, two verdicts":        {[]Observation{observe(1, 2, lsm, refused), observe(1, 2, lsm, observed)}, []string{"1>2 refused [lsm] x1", "1>2 observed [lsm] x1"}},
		"a pid used again":                {[]Observation{started(observe(1, 2, lsm, refused), 100), started(observe(1, 2, lsm, refused), 200)}, []string{"1>2 refused [lsm] x1", "1>2 refused [lsm] x1"}},
		"a start that one does not know":  {[]Observation{started(observe(1, 2, lsm, refused), 100), observe(1, 2, seccomp, observed)}, []string{"1>2 refused [lsm seccomp] x1"}},
		"a start that is learned of late": {[]Observation{observe(1, 2, lsm, refused), started(observe(1, 2, seccomp, observed), 100), started(observe(1, 2, lsm, refused), 101)}, []string{"1>2 refused [lsm seccomp] x1", "1>2 refused [lsm] x1"}},
		"a sensor without a name":         {[]Observation{observe(1, 2, 77, refused)}, []string{"1>2 refused [] x1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				folder := NewFolder(FolderOptions{Emit: func(e Event) { got = append(got, summary(e)) }})
				for _, o := range test.in {
					folder.Add(o)
				}
				pass(foldQuiet)
				synctest.Wait()
				if !slices.Equal(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
				folder.Close()
				if len(got) != len(test.want) {
					t.Errorf("Close emitted more: %q", got[len(test.want):])
				}
			})
		})
	}
}

// More counts into what is already pending, and does nothing else.
func TestFoldMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		f := NewFolder(FolderOptions{Emit: func(e Event) { got = append(got, summary(e)) }})
		seccomp, refused := access.SensorSeccomp, access.VerdictRefused
		o := observe(1, 2, seccomp, refused)
		o.ActorStart = 7
		if f.More(o) {
			t.Error("there was nothing")
		}
		f.Add(o)
		for range 3 {
			if !f.More(o) {
				t.Error("not counted")
			}
		}
		for name, change := range map[string]func(o *Observation){
			"another sensor":     func(o *Observation) { o.Sensor = access.SensorLSM },
			"another verdict":    func(o *Observation) { o.Access.Verdict = access.VerdictObserved },
			"another process":    func(o *Observation) { o.ActorStart = 8 },
			"another target":     func(o *Observation) { o.Access.Target.PID = 3 },
			"another request":    func(o *Observation) { o.Access.Request = "PTRACE_SEIZE" },
			"a stronger one":     func(o *Observation) { o.Access.Operation = access.OperationWrite },
			"inbound":            func(o *Observation) { o.Access.Inbound = true },
			"a sensor of nobody": func(o *Observation) { o.Sensor = 200 },
		} {
			other := o
			change(&other)
			if f.More(other) {
				t.Errorf("%s: counted", name)
			}
		}
		pass(foldQuiet)
		synctest.Wait()
		if f.More(o) {
			t.Error("it was told already")
		}
		if want := []string{"1>2 refused [seccomp] x4"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		f.Close()
	})
}

// What the sensors know is combined; the decision comes from the sensor with the strongest verdict.
func TestFoldMergesWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Event
		folder := NewFolder(FolderOptions{
			Container: container("abc"),
			Emit:      func(e Event) { got = append(got, e) },
			Network:   func() []Flow { return []Flow{{Peer: "192.0.2.1:443"}} },
		})
		first := observe(1, 2, access.SensorSeccomp, access.VerdictObserved)
		first.At = moment(time.Second)
		first.Access.Operation, first.Access.Request, first.Access.Unenforced = access.OperationRead, "PTRACE_ATTACH", "mode=audit"
		first.Access.Actor.Origin = &Origin{Kind: "unknown"}
		second := observe(1, 2, access.SensorLSM, access.VerdictRefused)
		second.At, second.Severity = moment(0), SeverityCritical
		second.Access.Operation = access.OperationWrite
		second.Access.Actor = Process{PID: 1, UID: 1000, Comm: "gdb", Exe: "/usr/bin/gdb", Ancestry: []Ancestor{{9, "sh"}}, Origin: &Origin{Kind: "exec", ExecID: "e"}}
		folder.Add(first)
		folder.Add(second)
		folder.Close()
		if len(got) != 1 {
			t.Fatalf("got %d events", len(got))
		}
		e := got[0]
		a := e.Access
		if a.Operation != access.OperationWrite || a.Request != "PTRACE_ATTACH" || a.Rule != "lsm-rule" || a.Unenforced != "" ||
			e.Severity != SeverityCritical || !e.Time.Equal(moment(0)) || !a.Last.Equal(moment(time.Second)) ||
			a.Actor.UID != 1000 || a.Actor.Comm != "gdb" || a.Actor.Origin.ExecID != "e" || len(a.Actor.Ancestry) != 1 ||
			len(a.Network) != 1 || e.Container.ID != "abc" || !strings.Contains(e.Message, "gdb[1]") || a.Technique != "T1055.008" {
			t.Errorf("got %+v, %+v", e, a)
		}
	})
}

func TestFoldWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		var counts []uint64
		folder := NewFolder(FolderOptions{Emit: func(e Event) {
			at, counts = append(at, time.Since(begin)), append(counts, e.Access.Count)
		}})
		defer folder.Close()
		// More keeps coming, so it is never quiet; it must be emitted all the same.
		for range 10 {
			folder.Add(observe(1, 2, access.SensorLSM, access.VerdictRefused))
			pass(300 * time.Millisecond)
		}
		pass(foldLongest)
		synctest.Wait()
		if want := []time.Duration{foldLongest, 2700*time.Millisecond + foldQuiet}; !slices.Equal(at, want) {
			t.Errorf("emitted at %v, want %v", at, want)
		}
		if want := []uint64{7, 3}; !slices.Equal(counts, want) {
			t.Errorf("counts %v, want %v", counts, want)
		}
	})
}

// Each is due at its own time, whatever else arrives.
func TestFoldTimerServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		at := map[int]time.Duration{}
		folder := NewFolder(FolderOptions{Emit: func(e Event) { at[e.Access.Actor.PID] = time.Since(begin) }})
		defer folder.Close()
		for actor := range 5 {
			folder.Add(observe(actor, 9, access.SensorLSM, access.VerdictRefused))
			pass(70 * time.Millisecond)
		}
		pass(time.Second)
		synctest.Wait()
		for actor := range 5 {
			if want := time.Duration(actor)*70*time.Millisecond + foldQuiet; at[actor] != want {
				t.Errorf("actor %d: emitted at %v, want %v", actor, at[actor], want)
			}
		}
	})
}

// The first to arrive is not always the first to be due.
func TestFoldTimerServesTheNextDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		at := map[int]time.Duration{}
		folder := NewFolder(FolderOptions{Emit: func(e Event) { at[e.Access.Actor.PID] = time.Since(begin) }})
		defer folder.Close()
		for _, actor := range []int{1, 2, 1} {
			folder.Add(observe(actor, 9, access.SensorLSM, access.VerdictRefused))
			pass(50 * time.Millisecond)
		}
		pass(time.Second)
		synctest.Wait()
		if at[2] != 50*time.Millisecond+foldQuiet || at[1] != 100*time.Millisecond+foldQuiet {
			t.Errorf("emitted at %v", at)
		}
	})
}

// A timer that fires late means that the process had no CPU, so its other sensors are late too.
func TestFoldWaitsForTheStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		folder := NewFolder(FolderOptions{Emit: func(e Event) { got = append(got, summary(e)) }})
		defer folder.Close()
		folder.Add(observe(1, 2, access.SensorSeccomp, access.VerdictObserved))
		late := time.Now().Add(foldQuiet + 2*foldLate)
		if folder.postpone(time.Now().Add(foldQuiet + foldLate/2)) {
			t.Error("a timer that fired in time was set anew")
		}
		if !folder.postpone(late) {
			t.Error("a timer that fired late was not set anew")
		}
		if folder.postpone(late.Add(2 * foldLate)) {
			t.Error("a timer was set anew twice")
		}
		folder.Add(observe(1, 2, access.SensorLSM, access.VerdictRefused))
		pass(foldLongest)
		synctest.Wait()
		if want := []string{"1>2 refused [lsm seccomp] x1"}; !slices.Equal(got, want) {
			t.Errorf("emitted %v, want %v", got, want)
		}
	})
}

func TestFoldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		folder := NewFolder(FolderOptions{Emit: func(e Event) { got = append(got, e.Access.Actor.PID) }})
		for actor := range foldPending + 3 {
			folder.Add(observe(actor, 0, access.SensorLSM, access.VerdictRefused))
		}
		if want := []int{0, 1, 2}; !slices.Equal(got, want) {
			t.Errorf("emitted %v, want the oldest, %v", got, want)
		}
		folder.Close()
		if len(got) != foldPending+3 {
			t.Errorf("%d events of %d", len(got), foldPending+3)
		}
		folder.Add(observe(7777, 0, access.SensorLSM, access.VerdictRefused))
		if got[len(got)-1] != 7777 {
			t.Error("an observation after Close is lost")
		}
		folder.Close()
	})
}

// While Emit waits for a hanging disk, what arrives is counted, nobody who decides has to wait, and
// no more is kept than usual. Nothing is lost or reordered.
func TestFoldWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		thaw := make(chan struct{})
		var got []string
		folder := NewFolder(FolderOptions{Emit: func(e Event) {
			<-thaw
			got = append(got, summary(e))
		}})
		of := func(actor int) Observation { return observe(actor, 0, access.SensorLSM, access.VerdictRefused) }
		folder.Add(of(0))
		pass(foldQuiet)
		synctest.Wait() // Emit has it now
		if !folder.mu.TryLock() {
			t.Fatal("whoever decides would wait for the disk")
		}
		folder.mu.Unlock()
		want := []string{"0>0 refused [lsm] x1"}
		for actor := 1; actor <= foldPending; actor++ {
			folder.Add(of(actor))
			want = append(want, fmt.Sprintf("%d>0 refused [lsm] x2", actor))
		}
		pass(10 * foldLongest)
		for actor := 1; actor <= foldPending; actor++ {
			if !folder.More(of(actor)) {
				t.Fatalf("actor %d was not counted", actor)
			}
		}
		if len(folder.order) != foldPending || len(folder.done) != 0 {
			t.Errorf("%d pending, %d done", len(folder.order), len(folder.done))
		}
		added := make(chan struct{})
		go func() {
			defer close(added)
			folder.Add(of(foldPending + 1)) // there is no room for this one
		}()
		close(thaw)
		<-added
		folder.Close()
		if want = append(want, fmt.Sprintf("%d>0 refused [lsm] x1", foldPending+1)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// No observation is lost or counted twice, in whatever order they arrive.
func TestFoldConcurrently(t *testing.T) {
	var mu sync.Mutex
	var total uint64
	folder := NewFolder(FolderOptions{Emit: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		total += e.Access.Count
	}})
	const workers, each = 8, 2000
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for i := range each {
				folder.Add(observe(worker, i%400, access.SensorLSM, access.VerdictRefused))
			}
		})
	}
	wait.Wait()
	folder.Close()
	if total != workers*each {
		t.Errorf("%d observations of %d", total, workers*each)
	}
}

package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
)

// fakeRecords is a ring buffer that already contains records and errors.
type fakeRecords struct {
	waiting []any // *bpf.Record or error
	flushed chan struct{}
	closed  bool
}

func (f *fakeRecords) Read() (*bpf.Record, error) {
	if len(f.waiting) == 0 {
		<-f.flushed
		return nil, bpf.ErrFlushed
	}
	next := f.waiting[0]
	f.waiting = f.waiting[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	record, _ := next.(*bpf.Record)
	return record, nil
}

func (f *fakeRecords) Flush() error { close(f.flushed); return nil }
func (f *fakeRecords) Close() error { f.closed = true; return nil }

// withStore gives the container its part of the event store.
func withStore(t *testing.T, c *Container) {
	t.Helper()
	var err error
	c.store, err = event.OpenStore(c.plan.Paths.Events(c.plan.Identity.Key), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	c.folder = event.NewFolder(event.FolderOptions{Container: c.identity(), Emit: c.emit, Network: c.network})
	c.context, c.cancel = t.Context(), func() {}
}

func storedEvents(t *testing.T, c *Container) []event.Event {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.plan.Paths.Events(c.plan.Identity.Key), "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var found []event.Event
	for line := range strings.Lines(string(raw)) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		found = append(found, e)
	}
	return found
}

func TestReadDrains(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	withStore(t, c)
	records := &fakeRecords{flushed: make(chan struct{}), waiting: []any{
		errors.New("a record of 3 bytes"),
		&bpf.Record{
			Vector: access.VectorProcMem, Operation: access.OperationRead, Relation: access.RelationHost,
			Verdict: access.VerdictKilled, Sensor: access.SensorAccess,
			Actor:  bpf.Process{PID: 101, Start: 110 * time.Millisecond, Origin: 100, OriginStart: 100 * time.Millisecond, Comm: "cat", Exe: "/bin/cat", Args: []string{"cat", "/proc/400/mem"}},
			Target: bpf.Process{PID: 400, Comm: "host"},
		},
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read(t.Context(), records)
	}()
	if err := records.Flush(); err != nil {
		t.Fatal(err)
	}
	<-done
	c.folder.Close()
	if !records.closed {
		t.Error("left the reader open")
	}
	events := storedEvents(t, c)
	if len(events) != 1 {
		t.Fatalf("got %d events", len(events))
	}
	got := events[0].Access
	if got.Rule != "baseline.host" || got.Verdict != access.VerdictKilled || events[0].Severity != event.SeverityCritical {
		t.Errorf("got %+v", events[0])
	}
	if got.Actor.Cmdline != "cat /proc/400/mem" || got.Actor.Exe != "/bin/cat" {
		t.Errorf("the actor is %+v", got.Actor)
	}
}

func TestReadGivesUp(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	withStore(t, c)
	records := &fakeRecords{flushed: make(chan struct{})}
	for range 2 * maxReadErrors {
		records.waiting = append(records.waiting, errors.New("broken"))
	}
	c.read(t.Context(), records)
	events := storedEvents(t, c)
	if len(events) != 1 || events[0].Kind != event.KindNotice || events[0].Severity != event.SeverityCritical {
		t.Errorf("got %+v", events)
	}
}

func TestExplain(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileStrict)
	sibling, ok := c.members.find(func(m member) bool { return m.plan.Identity.ID == "sibling" })
	if !ok {
		t.Fatal("the sibling is unknown")
	}
	c.traced.add(pair{tracer: 100, tracee: 101, start: 11})
	base := bpf.Record{Vector: access.VectorPtrace, Operation: access.OperationRead, Relation: access.RelationChild, Verdict: access.VerdictObserved}
	for name, test := range map[string]struct {
		change   func(*bpf.Record)
		inbound  bool
		rule     string
		severity string
	}{
		"outbound":                      {func(*bpf.Record) {}, false, "strict.child", "critical"},
		"inbound, of another container": {func(r *bpf.Record) { r.Relation = access.RelationOtherContainer }, true, "strict.inbound", "critical"},
		"inbound, of the host":          {func(r *bpf.Record) { r.Relation = access.RelationHost }, true, "strict.inbound", "warning"},
		"the other container's rule": {func(r *bpf.Record) {
			r.Relation, r.Flags, r.Target.Cgroup = access.RelationSamePod, bpf.FlagInboundRule, sibling.cgroupID
		}, false, "strict.inbound", "critical"},
	} {
		t.Run(name, func(t *testing.T) {
			record := base
			test.change(&record)
			got := c.explain(&record, test.inbound)
			if got.Rule != test.rule || got.Severity != test.severity {
				t.Errorf("got %+v", got)
			}
		})
	}
	observing := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	observing.traced.add(pair{tracer: 100, tracee: 101, start: 11})
	asked := base
	asked.Actor.PID, asked.Target.PID, asked.Target.Start = 100, 101, 11*clockTick
	if got := observing.explain(&asked, false); got.Severity != "info" {
		t.Errorf("a tracer that was asked: %+v", got)
	}
	asked.Sensor = access.SensorAccess
	if !observing.told(&asked) {
		t.Error("what a tracer reads of who asked for it is told again")
	}
	wrote := asked
	wrote.Operation = access.OperationWrite
	if observing.told(&wrote) {
		t.Error("what a tracer writes is not told")
	}
	asked.Target.Start = 12 * clockTick
	if observing.told(&asked) {
		t.Error("what a tracer reads of another process is not told")
	}
	if got := observing.explain(&asked, false); got.Severity != "warning" {
		t.Errorf("another process with that pid: %+v", got)
	}
}

// A process that outlived its container is stopped by the mode of that container, whatever the
// target's rule says.
func TestExplainOrphan(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	record := bpf.Record{Vector: access.VectorProcMem, Operation: access.OperationRead, Relation: access.RelationOtherContainer, Verdict: access.VerdictKilled}
	if got := c.explain(&record, true); got.Rule != "orphan" || got.Severity != "critical" {
		t.Errorf("killed: %+v", got)
	}
	record.Verdict = access.VerdictObserved
	if got := c.explain(&record, true); got.Rule != "baseline.inbound" {
		t.Errorf("observed: %+v", got)
	}
	c.plan.Rules.Recon = policy.ReconAudit
	record.Vector, record.Operation, record.Verdict = access.VectorRecon, access.OperationInspect, access.VerdictRefused
	if got := c.explain(&record, true); got.Rule != "orphan" {
		t.Errorf("refused what the target's plan records: %+v", got)
	}
	record.Verdict, record.Flags = access.VerdictObserved, bpf.FlagInbound
	if got := c.explain(&record, true); got.Rule != "baseline.recon" || got.Severity != "info" {
		t.Errorf("another container's, recorded: %+v", got)
	}
}

// What proc says may be used only if the start time shows that it is about the same process.
func TestEnrich(t *testing.T) {
	c := testContainer(t, policy.ModeAudit, policy.ProfileBaseline)
	if err := os.WriteFile(c.proc.path(101, "cmdline"), []byte("now\x00this\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	same, _ := c.enrich(&bpf.Process{PID: 101, Start: 115 * time.Millisecond, Args: []string{"then"}})
	if same.Cmdline != "now this" || len(same.Ancestry) == 0 {
		t.Errorf("got %+v", same)
	}
	later, _ := c.enrich(&bpf.Process{PID: 101, Start: 99 * time.Millisecond, Args: []string{"then"}})
	if later.Cmdline != "then" || len(later.Ancestry) != 0 {
		t.Errorf("took another process for it: %+v", later)
	}
	mine, _ := c.members.find(func(m member) bool { return m.plan.Identity.ID == "mine" })
	if p, own := c.enrich(&bpf.Process{PID: 9, Cgroup: mine.cgroupID}); !own || p.Container != "mine" {
		t.Errorf("one of its own: %+v, %v", p, own)
	}
	if p, own := c.enrich(&bpf.Process{PID: 9, Cgroup: 1}); own || p.Container != "" {
		t.Errorf("one of nobody's: %+v, %v", p, own)
	}
}

// Calls that open files have no name here. A vector that covers both such a file and a call has the
// call's name.
func TestSyscallName(t *testing.T) {
	compat := map[string]uint32{"amd64": 340, "arm64": 369}[runtime.GOARCH]
	for want, records := range map[string][]bpf.Record{
		"prlimit64": {
			{Vector: access.VectorCoreLimit, Call: unix.SYS_PRLIMIT64},
			{Vector: access.VectorCoreLimit, Call: unix.SYS_PRLIMIT64 | 1<<30},
			{Vector: access.VectorCoreLimit, Call: compat, Flags: bpf.FlagCompat},
		},
		"": {
			{Vector: access.VectorCoreLimit, Call: unix.SYS_OPENAT},
			{Vector: access.VectorCoreLimit, Call: unix.SYS_PRLIMIT64, Flags: bpf.FlagCompat},
			{Vector: access.VectorCoreLimit},
			{Vector: access.VectorRecon, Call: unix.SYS_GET_ROBUST_LIST},
		},
		"kcmp": {{Vector: access.VectorKcmp, Call: unix.SYS_KCMP}},
	} {
		for _, r := range records {
			if got := syscallName(&r); got != want {
				t.Errorf("%+v is named %q, want %q", r, got, want)
			}
		}
	}
}

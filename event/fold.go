package event

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/shimward/shimward/access"
)

// How long a Folder waits for more observations, and how much it keeps meanwhile.
const (
	foldQuiet   = 500 * time.Millisecond // after the last observation: on a busy node, sensors are that far apart
	foldLongest = 2 * time.Second        // after the first
	foldLate    = 100 * time.Millisecond // a timer that fires later than this means that the process was starved of CPU; it then waits this long again
	foldPending = 256                    // maximum number of pending accesses
)

// Observation is what one sensor saw of an access.
type Observation struct {
	// Access is what the sensor knows about it. Its Sensors, Count and Last are ignored.
	Access   Access
	Severity Severity
	Sensor   access.Sensor
	At       time.Time // when it happened; the zero time means now
	// ActorStart is the start time of the actor's process, as in field 22 of /proc/<pid>/stat: it
	// distinguishes processes that successively had the same pid. 0 means unknown.
	ActorStart uint64
	Count      uint64 // number of accesses that it stands for; 0 means 1
}

// FolderOptions configures a Folder.
type FolderOptions struct {
	Container Container
	// Emit receives the events, one at a time. It may block, but must not call the Folder.
	Emit func(Event)
	// Network, if set, is called before Emit for the container's recent peers, newest first.
	Network func() []Flow
}

// Folder makes one Event of what several sensors saw of one access, and of equal accesses within a
// moment. It is safe for concurrent use.
//
// Accesses are equal if actor, target, vector and direction are. Among sensors, the strongest
// verdict counts: a call that seccomp let through and LSM then refused was refused. If one sensor
// reports two different verdicts, it saw two accesses, and they stay two events.
type Folder struct {
	options FolderOptions

	emitting sync.Mutex // held while Emit runs; never acquired with mu held

	mu      sync.Mutex
	pending map[foldKey]*folded // guarded by mu
	order   []*folded           // guarded by mu; the pending ones, oldest first
	done    []*folded           // guarded by mu; no longer pending, not yet emitted; bounded, as whoever adds to it also flushes it
	timer   *time.Timer         // guarded by mu; nil while nothing is pending
	wake    time.Time           // guarded by mu; when the timer should fire
	late    bool                // guarded by mu; the timer fired late, and was set again
	closed  bool                // guarded by mu
}

type foldKey struct {
	actor, target int
	vector        access.Vector
	inbound       bool
}

type folded struct {
	key         foldKey
	start       uint64 // ActorStart
	event       Event
	counts      [access.Sensors]uint64
	verdicts    [access.Sensors]access.Verdict
	first, last time.Time // times of arrival, not of the accesses, as it is sensors that are waited for
}

// NewFolder returns a Folder. Without Close, its pending events are lost.
func NewFolder(options FolderOptions) *Folder {
	return &Folder{options: options, pending: map[foldKey]*folded{}}
}

// Add adds an observation. If that ends the wait for an older access, it returns after that one has
// been emitted.
func (f *Folder) Add(o Observation) {
	if f.take(o) {
		f.flush()
	}
}

// take is Add without the part that blocks; it reports whether an access is ready to be emitted.
func (f *Folder) take(o Observation) bool {
	now := time.Now()
	if o.At.IsZero() {
		o.At = now
	}
	o.Count = max(o.Count, 1)
	if int(o.Sensor) >= access.Sensors {
		o.Sensor = 0
	}
	key := foldKey{o.Access.Actor.PID, o.Access.Target.PID, o.Access.Vector, o.Access.Inbound}

	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.done)
	into := f.pending[key]
	if into != nil && !into.takes(&o) {
		f.finish(into)
		into = nil
	}
	if into == nil {
		into = f.begin(key, &o, now)
	}
	into.add(&o, now)
	if f.closed {
		f.finish(into)
	} else if f.timer == nil {
		// Nothing that arrives later is due earlier, so one timer is enough.
		f.wakeAt(now.Add(foldQuiet))
	}
	return len(f.done) > before
}

// More counts one more access into a pending event. It returns false, and counts nothing, if the
// observation would add anything but its count. A process that makes a million attempts is not
// worth a million descriptions: of o's processes, More reads only the pids and ActorStart. It does
// not wait for Emit.
func (f *Folder) More(o Observation) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	into := f.pending[foldKey{o.Access.Actor.PID, o.Access.Target.PID, o.Access.Vector, o.Access.Inbound}]
	if into == nil || int(o.Sensor) >= access.Sensors || into.counts[o.Sensor] == 0 || into.start != o.ActorStart ||
		into.verdicts[o.Sensor] != o.Access.Verdict || into.event.Access.Request != o.Access.Request ||
		into.event.Access.Operation < o.Access.Operation {
		return false
	}
	if into.counts[o.Sensor] < math.MaxUint64 {
		into.counts[o.Sensor]++
	}
	into.last = time.Now()
	if o.At.After(into.event.Access.Last) {
		into.event.Access.Last = o.At
	}
	return true
}

// Close emits all pending events. Observations that are added afterwards are emitted at once.
func (f *Folder) Close() {
	f.mu.Lock()
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	for len(f.order) > 0 {
		f.finish(f.order[0])
	}
	f.mu.Unlock()
	f.flush()
}

func (f *Folder) begin(key foldKey, o *Observation, now time.Time) *folded {
	if len(f.order) >= foldPending {
		f.finish(f.order[0])
	}
	fresh := &folded{key: key, start: o.ActorStart, first: now, event: Event{
		Schema: Schema, Time: o.At, Kind: KindAccess, Severity: o.Severity, Container: f.options.Container,
	}}
	whole := o.Access
	whole.Sensors, whole.Count, whole.Last = nil, 0, o.At
	fresh.event.Access = &whole
	f.pending[key] = fresh
	f.order = append(f.order, fresh)
	return fresh
}

// expire emits what is due, and sets the timer for the rest. It runs on the timer, which is set
// again only then: whatever becomes due while Emit blocks stays pending, and More counts into it.
func (f *Folder) expire() {
	if f.postpone(time.Now()) {
		return
	}
	f.finishDue()
	f.flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.timer = nil
	var next time.Time
	for _, one := range f.order {
		if due := one.due(); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if !next.IsZero() {
		f.wakeAt(next)
	}
}

// postpone sets a timer that fired late once more: a process that had no CPU for its timer had none
// for its sensors either, and their reports of one access would become two events. It never does so
// twice in a row.
func (f *Folder) postpone(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = !f.late && !f.closed && now.Sub(f.wake) > foldLate
	if f.late {
		f.wakeAt(now.Add(foldLate))
	}
	return f.late
}

// wakeAt sets the timer. The caller holds f.mu.
func (f *Folder) wakeAt(when time.Time) {
	f.wake = when
	f.timer = time.AfterFunc(time.Until(when), f.expire)
}

func (f *Folder) finishDue() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, one := range slices.Clone(f.order) {
		if !one.due().After(now) {
			f.finish(one)
		}
	}
}

// finish queues one for the next flush to emit. The caller holds f.mu.
func (f *Folder) finish(one *folded) {
	delete(f.pending, one.key)
	f.order = slices.DeleteFunc(f.order, func(other *folded) bool { return other == one })
	f.done = append(f.done, one)
}

// flush emits the finished events in order. Emit waits for the disk, so f.mu is not held meanwhile:
// whoever decides on an access must not have to wait for it.
func (f *Folder) flush() {
	f.emitting.Lock()
	defer f.emitting.Unlock()
	for one := f.nextDone(); one != nil; one = f.nextDone() {
		f.emit(one)
	}
}

func (f *Folder) nextDone() *folded {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.done) == 0 {
		return nil
	}
	one := f.done[0]
	f.done = slices.Delete(f.done, 0, 1)
	return one
}

// emit passes one to Emit. The caller holds f.emitting.
func (f *Folder) emit(one *folded) {
	done := one.event
	done.Access.Count = slices.Max(one.counts[:])
	for sensor := access.SensorAccess; int(sensor) < access.Sensors; sensor++ {
		if one.counts[sensor] > 0 {
			done.Access.Sensors = append(done.Access.Sensors, sensor)
		}
	}
	if done.Access.Network == nil && f.options.Network != nil {
		done.Access.Network = f.options.Network()
	}
	f.options.Emit(done.bounded())
}

func (p *folded) due() time.Time {
	quiet, longest := p.last.Add(foldQuiet), p.first.Add(foldLongest)
	if longest.Before(quiet) {
		return longest
	}
	return quiet
}

// takes reports whether an observation belongs to this access rather than to another.
func (p *folded) takes(o *Observation) bool {
	if p.start != 0 && o.ActorStart != 0 && p.start != o.ActorStart {
		return false
	}
	said := p.verdicts[o.Sensor]
	return said == 0 || said == o.Access.Verdict
}

func (p *folded) add(o *Observation, now time.Time) {
	p.last = now
	if p.start == 0 {
		p.start = o.ActorStart
	}
	p.verdicts[o.Sensor] = o.Access.Verdict
	if sum := p.counts[o.Sensor] + o.Count; sum >= o.Count {
		p.counts[o.Sensor] = sum
	}
	into, from := p.event.Access, &o.Access
	if o.At.Before(p.event.Time) {
		p.event.Time = o.At
	}
	if o.At.After(into.Last) {
		into.Last = o.At
	}
	if from.Verdict > into.Verdict {
		into.Verdict, into.Rule, into.Policy, into.Unenforced = from.Verdict, from.Rule, from.Policy, from.Unenforced
	}
	into.Operation = max(into.Operation, from.Operation)
	if o.Severity.rank() > p.event.Severity.rank() {
		p.event.Severity = o.Severity
	}
	for _, text := range [][2]*string{
		{&into.Syscall, &from.Syscall},
		{&into.Request, &from.Request},
		{&into.Exception, &from.Exception},
		{&into.Rule, &from.Rule},
		{&into.Policy, &from.Policy},
		{&into.Technique, &from.Technique},
	} {
		if *text[0] == "" {
			*text[0] = *text[1]
		}
	}
	into.Actor.fill(&from.Actor)
	into.Target.fill(&from.Target)
	if into.Network == nil {
		into.Network = from.Network
	}
}

// fill copies what p lacks: an earlier sensor could ask a process that has since gone.
func (p *Process) fill(from *Process) {
	if p.Comm == "" && p.Exe == "" {
		p.UID = from.UID
	}
	for _, number := range [][2]*int{{&p.PID, &from.PID}, {&p.TID, &from.TID}, {&p.PIDInside, &from.PIDInside}} {
		if *number[0] == 0 {
			*number[0] = *number[1]
		}
	}
	for _, text := range [][2]*string{
		{&p.Comm, &from.Comm},
		{&p.Exe, &from.Exe},
		{&p.Cmdline, &from.Cmdline},
		{&p.Container, &from.Container},
	} {
		if *text[0] == "" {
			*text[0] = *text[1]
		}
	}
	if p.Origin == nil || p.Origin.Kind == "unknown" && from.Origin != nil {
		p.Origin = from.Origin
	}
	if len(p.Ancestry) == 0 {
		p.Ancestry = from.Ancestry
	}
}

// rank orders severities; an unknown one ranks below all.
func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityInfo, SeverityWarning, SeverityCritical}, s)
}

package event

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/shimward/shimward/access"
)

// How long a Folder waits for more of the same, and how much it keeps meanwhile.
const (
	FoldQuiet   = 500 * time.Millisecond // after the last observation: on a busy node sensors are that far apart
	foldLongest = 2 * time.Second        // after the first
	foldLate    = 100 * time.Millisecond // a timer that fires later than this tells of a starved process, which is given as long again
	foldPending = 256                    // accesses
)

// Observation is what one sensor saw of an access.
type Observation struct {
	// Access is what it knows of it. Sensors, Count and Last are not looked at.
	Access   Access
	Severity Severity
	Sensor   access.Sensor
	At       time.Time // when it happened; the zero time is now
	// ActorStart is when the actor's process began, as in field 22 of
	// /proc/<pid>/stat: it tells processes apart that had one pid after each other. 0 is unknown.
	ActorStart uint64
	Count      uint64 // how many accesses it stands for; 0 is 1
}

// FolderOptions is what a Folder needs.
type FolderOptions struct {
	Container Container
	// Emit gets the events, one at a time. It may take its time, but must not call the Folder.
	Emit func(Event)
	// Network, where given, is asked at Emit for what the container talked to lately, newest first.
	Network func() []Flow
}

// Folder makes one Event of what several sensors saw of one access, and of
// equal accesses in a moment. Safe for concurrent use.
//
// Accesses are equal when actor, target, vector and direction are. Among
// sensors the strongest verdict holds: a call that seccomp let through for LSM
// to refuse was refused. One sensor that says two different things saw two
// accesses, and they stay two events.
type Folder struct {
	options FolderOptions

	emitting sync.Mutex // held while Emit has an event, and never waited for with mu held

	mu      sync.Mutex
	pending map[foldKey]*folded // guarded by mu
	order   []*folded           // guarded by mu; of pending, oldest first
	done    []*folded           // guarded by mu; no more pending, not emitted yet. Who adds to it flushes it, which bounds it
	timer   *time.Timer         // guarded by mu; nil while nothing is pending
	wake    time.Time           // guarded by mu; when the timer is to fire
	late    bool                // guarded by mu; the timer fired late, and was set anew
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
	first, last time.Time // of arrival, not of the accesses: what it waits for is sensors
}

// NewFolder makes one. Close it, or what is pending is lost.
func NewFolder(options FolderOptions) *Folder {
	return &Folder{options: options, pending: map[foldKey]*folded{}}
}

// Add takes an observation in. Where that ends the wait for an older one, it returns once that is emitted.
func (f *Folder) Add(o Observation) {
	if f.take(o) {
		f.flush()
	}
}

// take is Add without what waits; it says whether something is done.
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
		// Nothing that comes later is due earlier, so the one timer is enough.
		f.wakeAt(now.Add(FoldQuiet))
	}
	return len(f.done) > before
}

// More counts one more of an access that is pending. It is false, and nothing is
// counted, where the observation would add more than its number. Whoever makes a
// million attempts is not worth a million descriptions: of o's processes, More
// looks at their pids and ActorStart alone. It does not wait for Emit.
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

// Close emits what is pending. What is added afterwards is emitted at once.
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

// expire emits what is due, and comes back for what is not. It runs on the timer, which is
// set anew only then: what becomes due while Emit takes its time stays pending, and More counts it.
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

// postpone sets a timer that fired late once more: a process that had no CPU for its timer had none for its
// sensors either, and what they have to say of one access would become two events. Never twice in a row.
func (f *Folder) postpone(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = !f.late && !f.closed && now.Sub(f.wake) > foldLate
	if f.late {
		f.wakeAt(now.Add(foldLate))
	}
	return f.late
}

// wakeAt sets the timer. f.mu is held.
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

// finish has one emitted by the next flush. f.mu is held.
func (f *Folder) finish(one *folded) {
	delete(f.pending, one.key)
	f.order = slices.DeleteFunc(f.order, func(other *folded) bool { return other == one })
	f.done = append(f.done, one)
}

// flush emits what is done, in that order. Emit waits for the disk, so whoever decides must not have to wait for f.mu meanwhile.
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

// emit hands one over. f.emitting is held.
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
	quiet, longest := p.last.Add(FoldQuiet), p.first.Add(foldLongest)
	if longest.Before(quiet) {
		return longest
	}
	return quiet
}

// takes is false of an observation that is about another access.
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

// fill takes over what p does not know: a process that is gone can no longer be asked, an earlier sensor could.
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

// rank orders severities; one that has no name here ranks below all.
func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityInfo, SeverityWarning, SeverityCritical}, s)
}

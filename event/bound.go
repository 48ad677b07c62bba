package event

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shimward/shimward/access"
)

// The limits on an Event's parts, in bytes or entries. Together they keep a line within MaxLine,
// except for values in which nearly every byte must be escaped; those are cut further.
const (
	maxShort    = 256  // names and IDs
	maxMessage  = 1024 // bytes
	maxExe      = 1024
	maxCmdline  = 2048
	maxAncestry = 16
	maxNetwork  = 32
	maxRisks    = 32
)

// bounded returns the event in the form in which it may be stored: complete, with each part within
// its limit and each enumerated value a named one. The result shares nothing with e that it
// changed.
func (e Event) bounded() Event {
	if e.Schema == "" {
		e.Schema = Schema
	}
	if e.Severity == "" {
		e.Severity = SeverityInfo
	}
	e.Time = stamp(e.Time)
	e.Schema, e.Kind, e.Severity = clip(e.Schema, maxShort), Kind(clip(string(e.Kind), maxShort)), Severity(clip(string(e.Severity), maxShort))
	for _, text := range []*string{
		&e.Container.ID, &e.Container.Namespace, &e.Container.Name, &e.Container.Image,
		&e.Container.Pod, &e.Container.PodNamespace, &e.Container.PodUID,
	} {
		*text = clip(*text, maxShort)
	}
	if e.Process != nil {
		process := e.Process.bounded()
		e.Process = &process
	}
	if e.Access != nil {
		bounded := e.Access.bounded()
		e.Access = &bounded
	}
	if len(e.Risks) > 0 {
		e.Risks = slices.Clone(e.Risks[:min(len(e.Risks), maxRisks)])
		for i := range e.Risks {
			e.Risks[i].Name, e.Risks[i].Where = clip(e.Risks[i].Name, maxShort), clip(e.Risks[i].Where, maxShort)
		}
	}
	if e.Message == "" {
		e.Message = Describe(e)
	}
	e.Message = clip(e.Message, maxMessage)
	return e
}

func (a Access) bounded() Access {
	if int(a.Vector) >= access.Vectors {
		a.Vector = access.VectorUnknown
	}
	if a.Operation < access.OperationInspect || a.Operation > access.OperationWrite {
		a.Operation = access.OperationInspect
	}
	if a.Relation < access.RelationSelf || int(a.Relation) >= access.Relations {
		a.Relation = access.RelationHost
	}
	if a.Verdict < access.VerdictObserved || int(a.Verdict) >= access.Verdicts {
		a.Verdict = access.VerdictObserved
	}
	a.Sensors = slices.DeleteFunc(slices.Clone(a.Sensors), func(s access.Sensor) bool {
		return s < access.SensorAccess || int(s) >= access.Sensors
	})
	slices.Sort(a.Sensors)
	a.Sensors = slices.Compact(a.Sensors)
	for _, text := range []*string{&a.Syscall, &a.Request, &a.Rule, &a.Unenforced, &a.Exception, &a.Policy} {
		*text = clip(*text, maxShort)
	}
	if a.Technique == "" {
		a.Technique = a.Vector.Technique()
	}
	a.Technique = clip(a.Technique, maxShort)
	a.Count = max(a.Count, 1)
	a.Last = stamp(a.Last)
	a.Actor, a.Target = a.Actor.bounded(), a.Target.bounded()
	a.Network = slices.Clone(a.Network[:min(len(a.Network), maxNetwork)])
	for i := range a.Network {
		flow := &a.Network[i]
		flow.Last = stamp(flow.Last)
		flow.Direction, flow.Protocol, flow.Peer = clip(flow.Direction, maxShort), clip(flow.Protocol, maxShort), clip(flow.Peer, maxShort)
	}
	return a
}

func (p Process) bounded() Process {
	p.Comm = clip(p.Comm, maxShort)
	p.Exe = clip(p.Exe, maxExe)
	p.Cmdline = clip(p.Cmdline, maxCmdline)
	p.Container = clip(p.Container, maxShort)
	if p.Origin != nil {
		origin := *p.Origin
		origin.Kind, origin.ExecID = clip(origin.Kind, maxShort), clip(origin.ExecID, maxShort)
		p.Origin = &origin
	}
	p.Ancestry = slices.Clone(p.Ancestry[:min(len(p.Ancestry), maxAncestry)])
	for i := range p.Ancestry {
		p.Ancestry[i].Comm = clip(p.Ancestry[i].Comm, maxShort)
	}
	return p
}

// lean returns the event without its long parts, for one whose line would otherwise still exceed
// MaxLine.
func (e Event) lean() Event {
	const most = 64
	e.Message = clip(e.Message, most)
	if e.Process != nil {
		process := *e.Process
		process.lean(most)
		e.Process = &process
	}
	if e.Access != nil {
		lean := *e.Access
		lean.Network = nil
		lean.Actor.lean(most)
		lean.Target.lean(most)
		e.Access = &lean
	}
	return e
}

func (p *Process) lean(most int) {
	p.Ancestry = nil
	p.Exe, p.Cmdline = clip(p.Exe, most), clip(p.Cmdline, most)
}

// stamp returns a time as the store has it: in UTC, and representable in RFC 3339.
func stamp(t time.Time) time.Time {
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{} // a badly wrong clock is no reason to lose the event
	}
	return t
}

// clip truncates text to at most most bytes, at a character boundary, and marks the cut.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const mark = "..."
	cut := most - len(mark)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.Clone(text[:cut]) + mark
}

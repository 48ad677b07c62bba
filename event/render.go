package event

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/shimward/shimward/access"
)

// JSON writes events as JSON Lines.
type JSON struct{ Out io.Writer }

// Render writes one event.
func (j JSON) Render(e Event) error {
	line, err := Line(e)
	if err != nil {
		return err
	}
	_, err = j.Out.Write(line)
	return err
}

// Text writes events for people, one per line.
type Text struct {
	Out  io.Writer
	Wide bool // adds everything known beyond actor, target, vector and outcome
}

// Render writes one event.
func (t Text) Render(e Event) error {
	e = e.bounded()
	_, err := io.WriteString(t.Out, t.line(e)+"\n")
	return err
}

func (t Text) line(e Event) string {
	what := show(string(e.Kind))
	if e.Access != nil {
		what = e.Access.Verdict.String()
	}
	line := fmt.Sprintf("%s  %-8s  %-8s  %s  ", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"),
		show(string(e.Severity)), what, e.Container.label())
	if e.Access == nil {
		line += sentence(e.Message)
		if t.Wide && e.Process != nil {
			line += e.Process.detail("process")
		}
		return line
	}
	line += e.Access.line()
	if t.Wide {
		line += e.Access.detail()
	}
	return line
}

// label identifies a container the way its users do.
func (c *Container) label() string {
	if c.Pod == "" {
		if len(c.ID) == 64 { // generated IDs can be told apart by far fewer characters
			return show(c.ID[:12])
		}
		return show(c.ID)
	}
	label := show(c.PodNamespace) + "/" + show(c.Pod)
	if c.Name != "" {
		label += "/" + show(c.Name)
	}
	return label
}

func (a *Access) line() string {
	target := a.Target.label()
	switch {
	case a.Relation == access.RelationSelf:
		target = "itself"
	case a.Vector == access.VectorCorePattern, a.Vector == access.VectorFtraceEnabled, a.Vector == access.VectorTracefs:
		target = "the node"
	case a.Relation == access.RelationKernel:
		target = "any memory"
	}
	line := fmt.Sprintf("%s %s %s (%s) by %s", a.Actor.label(), a.Operation, target, a.Relation, a.Vector)
	if a.Request != "" {
		line += " " + show(a.Request)
	}
	if a.Inbound {
		line += " inbound"
	}
	if a.Count > 1 {
		line += " x" + strconv.FormatUint(a.Count, 10)
	}
	line += " rule=" + show(a.Rule)
	if a.Unenforced != "" {
		line += " unenforced=" + show(a.Unenforced)
	}
	if a.Exception != "" {
		line += " exception=" + show(a.Exception)
	}
	return line
}

func (a *Access) detail() string {
	sensors := make([]string, len(a.Sensors))
	for i, sensor := range a.Sensors {
		sensors[i] = sensor.String()
	}
	detail := " sensors=" + strings.Join(sensors, ",") + " technique=" + show(a.Technique)
	if a.Syscall != "" {
		detail += " syscall=" + show(a.Syscall)
	}
	detail += a.Actor.detail("actor") + a.Target.detail("target")
	for i := range a.Network {
		flow := &a.Network[i]
		detail += fmt.Sprintf(" net=%s:%s:%s:x%d@%s", show(flow.Direction), show(flow.Protocol), show(flow.Peer),
			flow.Count, flow.Last.UTC().Format(time.TimeOnly))
	}
	return detail
}

func (p *Process) detail(who string) string {
	detail := fmt.Sprintf(" %s.uid=%d", who, p.UID)
	if p.TID != 0 && p.TID != p.PID {
		detail += fmt.Sprintf(" %s.tid=%d", who, p.TID)
	}
	if p.PIDInside != 0 {
		detail += fmt.Sprintf(" %s.pid_inside=%d", who, p.PIDInside)
	}
	for _, field := range []struct{ key, value string }{{"exe", p.Exe}, {"cmdline", p.Cmdline}, {"container", p.Container}} {
		if field.value != "" {
			detail += " " + who + "." + field.key + "=" + show(field.value)
		}
	}
	if p.Origin != nil {
		detail += " " + who + ".origin=" + show(p.Origin.Kind)
		if p.Origin.ExecID != "" {
			detail += ":" + show(p.Origin.ExecID)
		}
	}
	if len(p.Ancestry) > 0 {
		names := make([]string, len(p.Ancestry))
		for i, ancestor := range p.Ancestry {
			names[i] = fmt.Sprintf("%s[%d]", show(ancestor.Comm), ancestor.PID)
		}
		detail += " " + who + ".ancestry=" + strings.Join(names, "<")
	}
	return detail
}

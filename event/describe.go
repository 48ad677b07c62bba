package event

import (
	"fmt"
	"strings"

	"github.com/shimward/shimward/access"
)

// Describe returns one sentence for people about what happened. Names in it are escaped.
func Describe(e Event) string {
	switch {
	case e.Kind == KindAccess && e.Access != nil:
		return e.Access.describe()
	case e.Kind == KindCreated:
		return "the container was created"
	case e.Kind == KindDeleted:
		return "the container was deleted"
	case e.Kind == KindStarted:
		return "the container was started" + e.Process.suffix()
	case e.Kind == KindExec:
		return "a process was started in the container from outside" + e.Process.suffix()
	case e.Kind == KindRisk:
		return describeRisks(e.Risks)
	case e.Kind == KindExited:
		text := "a process of the container ended" + e.Process.suffix()
		if e.ExitCode != nil {
			text += fmt.Sprintf(" with exit code %d", *e.ExitCode)
		}
		return text
	default:
		return show(string(e.Kind))
	}
}

func describeRisks(risks []Risk) string {
	names := make([]string, len(risks))
	for i, risk := range risks {
		names[i] = show(risk.Name)
		if risk.WouldRefuse {
			names[i] += " (which the profile refuses)"
		}
	}
	return "the container's spec gives it ways around shimward: " + strings.Join(names, ", ")
}

func (p *Process) suffix() string {
	if p == nil {
		return ""
	}
	text := ": " + p.label()
	if p.Origin != nil && p.Origin.ExecID != "" {
		text += ", exec " + show(p.Origin.ExecID)
	}
	return text
}

// label identifies a process briefly: by its name and pid.
func (p *Process) label() string {
	name := p.Comm
	if name == "" {
		name = p.Exe[strings.LastIndexByte(p.Exe, '/')+1:]
	}
	if name == "" {
		name = "unknown"
	}
	if p.PID == 0 {
		return show(name)
	}
	return fmt.Sprintf("%s[%d]", show(name), p.PID)
}

func (a *Access) describe() string {
	text := a.Actor.label() + " tried to " + a.attempt()
	switch a.Verdict {
	case access.VerdictRefused:
		text += ", and was refused"
	case access.VerdictKilled:
		text += ", and was killed before a byte moved"
	default:
		text += ", and was let through"
		if a.Unenforced != "" {
			text += " (" + show(a.Unenforced) + ")"
		}
	}
	return text
}

func (a *Access) attempt() string {
	switch a.Vector {
	case access.VectorCorePattern:
		return "set " + door(a.Vector) + ", which decides who gets the memory of processes that crash on the node"
	case access.VectorFtraceEnabled:
		return "set " + door(a.Vector) + ", which decides whether the node's LSM programs are called"
	case access.VectorTracefs:
		return "set a probe or a filter through " + door(a.Vector) + ", which copies or compares the memory of the node's processes"
	default:
		return a.reach() + " through " + door(a.Vector)
	}
}

func (a *Access) reach() string {
	whose := "the memory of " + a.Target.label() + " (" + a.Relation.String() + ")"
	switch a.Relation {
	case access.RelationSelf:
		whose = "its own memory"
	case access.RelationKernel:
		whose = "the memory of the whole node"
	}
	switch a.Operation {
	case access.OperationWrite:
		return "write " + whose
	case access.OperationRead:
		return "read " + whose
	case access.OperationAttach:
		return "take control of " + strings.TrimPrefix(whose, "the memory of ")
	default:
		return "inspect " + whose
	}
}

func door(vector access.Vector) string {
	switch vector {
	case access.VectorUnknown:
		return "an unknown interface"
	case access.VectorProcMem:
		return "/proc/<pid>/mem"
	case access.VectorSelfMem:
		return "/proc/self/mem"
	case access.VectorProcFD:
		return "/proc/<pid>/fd"
	case access.VectorMapFiles:
		return "/proc/<pid>/map_files"
	case access.VectorKernelMem:
		return "/proc/kcore or a similar device"
	case access.VectorCorePattern:
		return "the sysctl kernel.core_pattern"
	case access.VectorFtraceEnabled:
		return "the sysctl kernel.ftrace_enabled"
	case access.VectorTracefs:
		return "uprobe_events, an event's filter or a similar file in tracefs"
	case access.VectorSwap:
		return "the node's swap"
	case access.VectorRecon:
		return "its files in /proc or get_robust_list(2)"
	case access.VectorUserfaultfd:
		return "its userfaultfd"
	case access.VectorCoreDump:
		return "a core dump that it provoked"
	case access.VectorPerfEvent:
		return "perf_event_open(2)"
	case access.VectorCoreLimit:
		return "the settings of its core dump"
	default:
		return vector.String() + "(2)"
	}
}

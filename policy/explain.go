package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shimward/shimward/access"
)

// Question is an access to be explained, before or after it happens.
type Question struct {
	Vector    access.Vector    `json:"vector"`
	Operation access.Operation `json:"operation"` // 0 means the vector's main operation: see Purpose
	Relation  access.Relation  `json:"relation"`
	Inbound   bool             `json:"inbound"`   // the plan is the target's, and does not cover the actor
	Traceme   bool             `json:"traceme"`   // the target asked for it with PTRACE_TRACEME
	Exception bool             `json:"exception"` // the actor runs an executable that the plan allows
	// The inputs to the plan's own rules. Executables are given by their paths in the container's
	// root and taken to be unchanged; "" stands for any other executable.
	Executable       string      `json:"executable,omitempty"`
	UID              uint32      `json:"uid"`
	TargetExecutable string      `json:"target_executable,omitempty"`
	Tier             access.Tier `json:"tier"`
}

// Explanation is a Question and the Plan's answer to it.
type Explanation struct {
	Question
	Verdict  access.Verdict `json:"verdict"`
	Action   Action         `json:"action"`
	Rule     string         `json:"rule,omitempty"` // empty for a process's use of its own memory
	Mode     Mode           `json:"mode"`
	Severity string         `json:"severity"`
	Policy   string         `json:"policy"` // the Plan's digest, as events cite it
	Why      []string       `json:"why"`    // sentences
}

// Explain answers a Question with the functions that decide accesses: Decide, Except and Traceme.
// The verdict is that of the sensor that acts in the Question's tier.
func (p *Plan) Explain(q Question) (Explanation, error) {
	if q.Operation == 0 {
		q.Operation = Purpose(q.Vector)
	}
	if err := q.check(); err != nil {
		return Explanation{}, err
	}
	e := Explanation{Question: q, Mode: p.Mode, Policy: p.Digest}
	if !q.Inbound && q.Executable != "" && slices.Contains(p.exceptions(q.Relation), q.Executable) {
		q.Exception = true
	}
	deed := p.deed(q)
	decision := p.Decide(deed, q.Tier)
	switch except, reaches := p.Except(q.Relation); {
	case decision.Quiet:
		e.because(p.quiet(deed))
	case q.Exception && !reaches:
		return Explanation{}, fmt.Errorf("no executable may access processes of relation %s by the profile %s and this container's annotations", q.Relation, p.Profile)
	case q.Exception && decision.Action == ActionRefuse:
		e.because(fmt.Sprintf("The rule %s says %q, but the executable is allowed: %s.", decision.Rule, decision.Action, listNames(p.exceptions(q.Relation))))
		decision = except
	default:
		e.because(p.ruleSentence(deed, decision))
		if q.Traceme {
			decision = decision.Traceme()
			e.because("The target asked for it with PTRACE_TRACEME, as under a debugger: if the rule only observes, the severity is info.")
		}
	}
	e.Action, e.Rule, e.Severity, e.Verdict = decision.Action, decision.Rule, decision.Severity, decision.Verdict
	switch {
	case decision.Unenforced != "":
		e.because(fmt.Sprintf("It is nevertheless let through and recorded: %s.", decision.Unenforced))
	case decision.Verdict == access.VerdictRefused && !q.Vector.SeenIn(q.Tier):
		e.Verdict = access.VerdictObserved
		e.because("It nevertheless gets through, without an event: nothing in the tracepoint tier sees it.")
	case decision.Verdict == access.VerdictRefused:
		if q.Tier == access.TierTracepoint && q.Vector.Door() == access.DoorMemory {
			e.Verdict = access.VerdictKilled
		}
		e.because(means(q))
	}
	if allowed := p.exceptions(q.Relation); decision.Action == ActionRefuse && !q.Inbound && len(allowed) > 0 {
		e.because("Executables that are allowed to do it anyway: " + listNames(allowed) + ".")
	}
	if !q.Inbound && decision.Action != ActionRefuse && (q.Relation == access.RelationSamePod || q.Relation == access.RelationOtherContainer) {
		e.because("If the target is guarded, its own rule \"inbound\" may still refuse it: check with --inbound for that container.")
	}
	return e, nil
}

func (e *Explanation) because(sentence string) { e.Why = append(e.Why, sentence) }

func (p *Plan) quiet(deed Deed) string {
	if p.Mode == ModeOff {
		return "The container's mode is off: shimward does nothing, as under plain runc."
	}
	if deed.Vector == access.VectorRecon && deed.Inbound && p.Rules.Recon != ReconOff {
		return "The actor is a process of the node, and shimward ignores what those read in procfs: the node's agents do that all the time."
	}
	if deed.Vector == access.VectorRecon {
		return "shimward ignores what procfs shows of a process besides its memory's content, unless recon is \"audit\" or \"refuse\" in the actor's profile or, if the target is in another container, in the target's profile."
	}
	if deed.Vector == access.VectorCoreDump {
		return "shimward ignores signals that a container's own processes send each other, or that the node sends them, and records only a signal from another container that makes a process dump core."
	}
	return "shimward ignores accesses of a process to its own memory, which make no event, except for writing through /proc/self/mem."
}

// deed returns the access that is asked about, with the plan's own rule that fits it.
func (p *Plan) deed(q Question) Deed {
	files := p.RuleFiles()
	deed := Deed{Vector: q.Vector, Operation: q.Operation, Relation: q.Relation, Inbound: q.Inbound}
	deed.Rule = p.First(deed, Parties{UID: int(q.UID), Actor: files[q.Executable].Actor, Target: files[q.TargetExecutable].Target})
	return deed
}

func (p *Plan) ruleSentence(deed Deed, d Decision) string {
	who := "The target is "
	if deed.Inbound {
		who = "The actor is "
	}
	who += inWords(deed.Relation)
	if deed.Inbound && deed.Relation == access.RelationHost {
		return who + ", and such actors are only ever observed: they include the runtime and the node's agents."
	}
	if deed.Rule > 0 {
		return fmt.Sprintf("%s: the first of the profile's own rules that matches is %s, which says %q.", who, d.Rule, d.Action)
	}
	return fmt.Sprintf("%s: the rule %s applies, which says %q.", who, d.Rule, d.Action)
}

// exceptions returns the executables that the plan allows for targets of that relation.
func (p *Plan) exceptions(relation access.Relation) []string {
	switch except, ok := p.Except(relation); {
	case !ok:
		return nil
	case strings.HasSuffix(except.Rule, ".allow_pod"):
		return p.AllowPod
	default:
		return p.Allow
	}
}

// Purpose returns a vector's main operation.
func Purpose(vector access.Vector) access.Operation {
	switch vector {
	case access.VectorSelfMem, access.VectorProcessVMWritev, access.VectorUserfaultfd,
		access.VectorCorePattern, access.VectorFtraceEnabled, access.VectorTracefs, access.VectorIoperm:
		return access.OperationWrite
	case access.VectorPtrace, access.VectorPidfdGetfd, access.VectorBPF, access.VectorProcFD, access.VectorMapFiles:
		return access.OperationAttach
	case access.VectorProcessMadvise, access.VectorKcmp, access.VectorProcessMrelease, access.VectorMovePages, access.VectorRecon:
		return access.OperationInspect
	default:
		return access.OperationRead
	}
}

func (q *Question) check() error {
	switch {
	case q.Tier != access.TierLSM && q.Tier != access.TierTracepoint:
		return fmt.Errorf("a tier is missing: write %q or %q", access.TierLSM, access.TierTracepoint)
	case q.Relation == 0 || int(q.Relation) >= access.Relations:
		return fmt.Errorf("a relation is missing: write one from %q to %q", access.RelationSelf, access.RelationKernel)
	case q.Vector.OfNode() && q.Relation != access.RelationKernel:
		return fmt.Errorf("%s does not concern a process: its relation is %q", q.Vector, access.RelationKernel)
	case q.Relation == access.RelationKernel && !q.Vector.OfNode() && q.Vector != access.VectorPerfEvent:
		return fmt.Errorf("%s targets one process: its relation cannot be %q", q.Vector, access.RelationKernel)
	case q.Vector == access.VectorSelfMem && q.Relation != access.RelationSelf:
		return fmt.Errorf("%s is a process's own memory: its relation is %q", q.Vector, access.RelationSelf)
	case q.Inbound && (q.Relation < access.RelationSamePod || q.Relation == access.RelationKernel):
		return fmt.Errorf("an inbound access comes from outside the container: its relation is %q, %q or %q",
			access.RelationSamePod, access.RelationOtherContainer, access.RelationHost)
	case q.Inbound && q.Exception:
		return errors.New("exceptions belong to the actor's container: ask about that container, without inbound")
	case q.Traceme && q.Vector != access.VectorPtrace:
		return fmt.Errorf("PTRACE_TRACEME is a request of %s", access.VectorPtrace)
	default:
		return nil
	}
}

// means describes how a refusal is carried out.
func means(q Question) string {
	door := q.Vector.Door()
	switch {
	case q.Tier == access.TierTracepoint && door == access.DoorCall:
		return "This node's kernel does not run BPF LSM programs: seccomp's listener refuses the system call with EPERM."
	case q.Tier == access.TierTracepoint:
		return "This node's kernel does not run BPF LSM programs, and no system call names the target: the actor is killed when it touches the memory, before a byte moves."
	case q.Vector == access.VectorUserfaultfd:
		return "The descriptor is withheld: the message arrives without it."
	case door == access.DoorFile:
		return "The open fails with EACCES."
	case door == access.DoorMemory:
		return "The open fails with EACCES; a process that uses a file that was opened before, or elsewhere, is killed at the first use."
	default:
		return "The system call fails with EPERM."
	}
}

func inWords(relation access.Relation) string {
	switch relation {
	case access.RelationSelf:
		return "the actor itself"
	case access.RelationChild:
		return "a descendant of the actor, in the same container"
	case access.RelationSameContainer:
		return "another process of the same container"
	case access.RelationSamePod:
		return "a process of another container of the same pod"
	case access.RelationOtherContainer:
		return "a process of another container"
	case access.RelationKernel:
		return "not a process but the node itself, or an interface to all of its memory"
	default:
		return "a process in no container"
	}
}

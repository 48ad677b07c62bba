package policy

import (
	"errors"

	"github.com/shimward/shimward/access"
)

// The severities of a Decision; package event uses the same names.
const (
	SeverityInfo     = "info"
	SeverityWarning  = "warning"
	SeverityCritical = "critical"
)

// ErrTier is wrapped by the error of CheckTier.
var ErrTier = errors.New("this node's kernel does not run BPF LSM programs")

// CheckTier returns an error if the plan cannot be kept on a node of that tier; the container must
// then not be created.
func (p *Plan) CheckTier(tier access.Tier) error {
	if p.Mode == ModeEnforce && p.WithoutLSM == WithoutLSMRefuse && tier != access.TierLSM {
		return tierError{}
	}
	return nil
}

type tierError struct{}

func (tierError) Error() string {
	return ErrTier.Error() + `, and its config says without_lsm = "refuse": boot it with bpf in lsm=, ` +
		`write without_lsm = "kill" or "audit" in its config, or run the container with the annotation ` +
		AnnotationPrefix + KeyMode + ` = "audit"`
}

func (tierError) Unwrap() error { return ErrTier }

// Enforces reports whether accesses that the rules refuse are really refused on a node of that
// tier, rather than allowed and recorded.
func (p *Plan) Enforces(tier access.Tier) bool { return p.unenforced(tier) == "" }

// unenforced returns why refusals are not enforced, or "" if they are. An unknown tier weakens
// nothing.
func (p *Plan) unenforced(tier access.Tier) string {
	switch {
	case p.Mode != ModeEnforce:
		return "mode=" + string(p.Mode)
	case tier == access.TierTracepoint && p.WithoutLSM == WithoutLSMAudit:
		return "without_lsm=" + string(p.WithoutLSM)
	default:
		return ""
	}
}

// Table returns the outbound rules by relation, as the kernel side stores them. The entry for
// RelationSelf covers only writing through /proc/self/mem. Entry 0, which is no relation, is as
// strict as the host's.
func (p *Plan) Table() [access.Relations]Action {
	return [access.Relations]Action{
		0:                             p.Rules.Host,
		access.RelationSelf:           p.Rules.SelfMemWrite,
		access.RelationChild:          p.Rules.Child,
		access.RelationSameContainer:  p.Rules.SameContainer,
		access.RelationSamePod:        p.Rules.SamePod,
		access.RelationOtherContainer: p.Rules.OtherContainer,
		access.RelationHost:           p.Rules.Host,
		access.RelationKernel:         p.Rules.Kernel,
	}
}

// InboundTable returns the inbound rules, indexed by the target's relation to the actor. Only other
// containers are ever refused: the host's processes, and those that the runtime sends into this
// container, must be able to reach it for it to run at all.
func (p *Plan) InboundTable() [access.Relations]Action {
	return [access.Relations]Action{
		0:                             ActionObserve,
		access.RelationSelf:           ActionObserve,
		access.RelationChild:          ActionObserve,
		access.RelationSameContainer:  ActionObserve,
		access.RelationSamePod:        p.Rules.Inbound,
		access.RelationOtherContainer: p.Rules.Inbound,
		access.RelationHost:           ActionObserve,
		access.RelationKernel:         ActionObserve,
	}
}

// InboundRecon returns the action for another container that reads what procfs tells of this
// container's processes: the weaker one of inbound and recon.
func (p *Plan) InboundRecon() Action {
	if p.Rules.Recon == ActionRefuse {
		return p.Rules.Inbound
	}
	return p.Rules.Recon
}

// Deed is an access as a plan judges it.
type Deed struct {
	Vector    access.Vector
	Operation access.Operation
	Relation  access.Relation
	Inbound   bool // the plan is the target's; otherwise it is the actor's
	Rule      int  // the first of the plan's own rules that fits: see First
}

// Decide returns the decision on an access on a node of that tier.
func (p *Plan) Decide(deed Deed, tier access.Tier) Decision {
	if p.Mode == ModeOff || p.nobodys(deed) {
		return Decision{Action: ActionObserve, Severity: SeverityInfo, Verdict: access.VerdictObserved, Quiet: true}
	}
	if int(deed.Relation) >= access.Relations {
		deed.Relation = 0
	}
	action, rule := p.rule(deed)
	decision := Decision{
		Action:   action,
		Rule:     p.Profile + "." + rule,
		Severity: SeverityWarning,
		Verdict:  access.VerdictObserved,
	}
	switch {
	case decision.Action == ActionRefuse:
		decision.Severity = SeverityCritical
		decision.Unenforced = p.unenforced(tier)
		if decision.Unenforced == "" {
			decision.Verdict = access.VerdictRefused
		}
	case deed.Operation == access.OperationInspect:
		decision.Severity = SeverityInfo
	}
	return decision
}

// nobodys reports whether an access is outside shimward's concern and makes no event.
func (p *Plan) nobodys(deed Deed) bool {
	if deed.Vector == access.VectorRecon {
		return p.Rules.Recon == ReconOff || deed.Inbound && deed.Relation != access.RelationSamePod && deed.Relation != access.RelationOtherContainer
	}
	// Supervisors may send any signal to processes of their own.
	if deed.Vector == access.VectorCoreDump && (!deed.Inbound && deed.Relation <= access.RelationSameContainer || deed.Inbound && deed.Relation == access.RelationHost) {
		return true
	}
	// A process may use its own memory: libunwind constantly reads it with process_vm_readv.
	return !deed.Inbound && deed.Relation == access.RelationSelf && deed.Vector != access.VectorSelfMem
}

// rule returns the plan's action for an access and the name of the rule that says it: the plan's
// own rule that fits, or else the one for the target's relation. Accesses that reveal no memory
// content (recon) have a rule of their own.
func (p *Plan) rule(deed Deed) (Action, string) {
	switch {
	case !deed.Inbound && deed.Rule > 0 && deed.Rule <= len(p.Rule):
		own := &p.Rule[deed.Rule-1]
		return own.Action, own.Name
	case deed.Vector == access.VectorRecon && (!deed.Inbound || p.Rules.Recon != ActionRefuse):
		return p.Rules.Recon, "recon"
	case deed.Inbound:
		return p.InboundTable()[deed.Relation], "inbound"
	default:
		return p.Table()[deed.Relation], ruleName(deed.Relation)
	}
}

// Traceme adjusts the decision for a tracer whose target asked to be traced with PTRACE_TRACEME:
// that is what debuggers do, so under an observing rule the severity is info.
func (d Decision) Traceme() Decision {
	if d.Action == ActionObserve {
		d.Severity = SeverityInfo
	}
	return d
}

// Preparation adjusts the decision for a call that reaches for nothing by itself: refusing it is a
// precaution, and says nothing about its caller, so the severity is info.
func (d Decision) Preparation() Decision {
	d.Severity = SeverityInfo
	return d
}

// Except returns the decision on an access by an executable that is allowed by name: Allow covers
// everything in the container (self, child, same container), AllowPod covers other containers of
// the pod. It returns false for relations that no exception covers. Whether the actor runs such an
// executable is for the kernel side to say, which binds exceptions to inodes.
func (p *Plan) Except(relation access.Relation) (Decision, bool) {
	decision := Decision{Action: ActionObserve, Severity: SeverityInfo, Verdict: access.VerdictObserved}
	switch relation {
	case access.RelationSelf, access.RelationChild, access.RelationSameContainer:
		decision.Rule = p.Profile + ".allow"
		return decision, len(p.Allow) > 0
	case access.RelationSamePod:
		decision.Rule = p.Profile + ".allow_pod"
		return decision, len(p.AllowPod) > 0
	default:
		return Decision{}, false
	}
}

// Lease returns the decision on an access by an executable that was allowed for a limited time
// while the container runs. It covers the same relations as exceptions do.
func (p *Plan) Lease(relation access.Relation, why string) (Decision, bool) {
	switch relation {
	case access.RelationSelf, access.RelationChild, access.RelationSameContainer, access.RelationSamePod:
		rule := "lease"
		if why != "" {
			rule += ": " + why
		}
		return Decision{Action: ActionObserve, Severity: SeverityInfo, Verdict: access.VerdictObserved, Rule: rule}, true
	default:
		return Decision{}, false
	}
}

// Orphan returns the decision on a process that outlived its container and so has no rules left:
// under enforce, it may access no other process's memory.
func Orphan(verdict access.Verdict) Decision {
	return Decision{Action: ActionRefuse, Severity: SeverityCritical, Verdict: verdict, Rule: "orphan"}
}

func ruleName(relation access.Relation) string {
	switch relation {
	case access.RelationSelf:
		return "self_mem_write"
	case access.RelationChild:
		return "child"
	case access.RelationSameContainer:
		return "same_container"
	case access.RelationSamePod:
		return "same_pod"
	case access.RelationOtherContainer:
		return "other_container"
	case access.RelationKernel:
		return "kernel"
	default:
		return "host"
	}
}

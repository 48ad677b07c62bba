package policy

import (
	"errors"

	"github.com/shimward/shimward/access"
)

// The severities of a Decision; package event has the same names.
const (
	SeverityInfo     = "info"
	SeverityWarning  = "warning"
	SeverityCritical = "critical"
)

// ErrTier is what CheckTier's error wraps.
var ErrTier = errors.New("this node's kernel takes no BPF LSM programs")

// CheckTier says whether the plan can be kept on a node of that tier. The
// container must not be created where it cannot.
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

// Enforces says whether what the rules refuse is really refused on a node of
// that tier, or let through and recorded.
func (p *Plan) Enforces(tier access.Tier) bool { return p.unenforced(tier) == "" }

// unenforced is why not. A tier that is not known weakens nothing.
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

// Table is the outbound rules by relation, as the kernel side has them. The
// entry of RelationSelf is about /proc/self/mem for writing and nothing else.
// Its entry 0, of no relation, is as strict as the host's.
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

// InboundTable is the inbound rules, by what the target is to the actor. Only
// other containers are ever refused: the host's processes, and those that the runtime
// sends into this container, have to reach it for it to run at all.
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

// Deed is an access, as a plan judges it.
type Deed struct {
	Vector    access.Vector
	Operation access.Operation
	Relation  access.Relation
	Inbound   bool // the plan is the target's; otherwise it is the actor's
	Rule      int  // which of the plan's own rules fits first: see First
}

// Decide is what becomes of an access on a node of that tier.
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

// nobodys says that an access is no business of anybody's, and makes no event.
func (p *Plan) nobodys(deed Deed) bool {
	if deed.Vector == access.VectorRecon {
		return deed.Inbound || p.Rules.Recon == ReconOff
	}
	// Supervisors send their own what signals they like.
	if deed.Vector == access.VectorCoreDump && (!deed.Inbound && deed.Relation <= access.RelationSameContainer || deed.Inbound && deed.Relation == access.RelationHost) {
		return true
	}
	// A process and its own memory: libunwind reads it with process_vm_readv all day long.
	return !deed.Inbound && deed.Relation == access.RelationSelf && deed.Vector != access.VectorSelfMem
}

// rule is what the plan says of an access, and the name of the rule that says it:
// its own that fits, or the one about the target, but for what gets nothing of a memory's content.
func (p *Plan) rule(deed Deed) (Action, string) {
	switch {
	case !deed.Inbound && deed.Rule > 0 && deed.Rule <= len(p.Rule):
		own := &p.Rule[deed.Rule-1]
		return own.Action, own.Name
	case deed.Vector == access.VectorRecon:
		return p.Rules.Recon, "recon"
	case deed.Inbound:
		return p.InboundTable()[deed.Relation], "inbound"
	default:
		return p.Table()[deed.Relation], ruleName(deed.Relation)
	}
}

// Traceme is the decision on a tracer whose target asked for it with
// PTRACE_TRACEME: under an observing rule, that is what debuggers do.
func (d Decision) Traceme() Decision {
	if d.Action == ActionObserve {
		d.Severity = SeverityInfo
	}
	return d
}

// Except is the decision on an access by an executable that is allowed by name:
// Allow is for anything in the container (self, child, same container), AllowPod for
// other containers of the pod. It is false where no exception reaches.
// Whether the actor is such an executable is the kernel's business: it is bound to an inode.
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

// Lease is the decision on an access by an executable that somebody allowed for a
// time, while the container runs. It reaches as far as an exception does.
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

// Orphan is the decision on a process that outlived its container, whose rules are
// gone: under enforce, it gets nothing of anybody's.
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

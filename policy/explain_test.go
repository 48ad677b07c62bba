package policy

import (
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
)

func explained(t *testing.T, annotations map[string]string) *Plan {
	t.Helper()
	plan, err := DefaultConfig().Plan(Facts{ID: "c", Namespace: "default", Bundle: "/b", Annotations: annotations})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestExplain(t *testing.T) {
	enforce := map[string]string{AnnotationPrefix + KeyMode: "enforce", AnnotationPrefix + KeyProfile: "strict", AnnotationPrefix + "allow": "/usr/bin/gdb"}
	lsm, tracepoint := access.TierLSM, access.TierTracepoint
	for name, test := range map[string]struct {
		annotations map[string]string
		question    Question
		verdict     access.Verdict
		rule        string
		why         string // in one of the sentences
	}{
		"a file in the lsm tier":     {enforce, Question{Vector: access.VectorProcMem, Relation: access.RelationHost, Tier: lsm}, access.VerdictRefused, "strict.host", "EACCES"},
		"a file without it":          {enforce, Question{Vector: access.VectorProcMem, Relation: access.RelationHost, Tier: tracepoint}, access.VerdictKilled, "strict.host", "killed"},
		"a call without it":          {enforce, Question{Vector: access.VectorPtrace, Relation: access.RelationHost, Tier: tracepoint}, access.VerdictRefused, "strict.host", "seccomp"},
		"audit":                      {nil, Question{Vector: access.VectorProcMem, Relation: access.RelationHost, Tier: lsm}, access.VerdictObserved, "baseline.host", "mode=audit"},
		"an exception there is":      {enforce, Question{Vector: access.VectorPtrace, Relation: access.RelationChild, Tier: lsm}, access.VerdictRefused, "strict.child", "/usr/bin/gdb"},
		"an exception":               {enforce, Question{Vector: access.VectorPtrace, Relation: access.RelationChild, Tier: lsm, Exception: true}, access.VerdictObserved, "strict.allow", "allowed"},
		"a debugger's child":         {nil, Question{Vector: access.VectorPtrace, Relation: access.RelationChild, Tier: lsm, Traceme: true}, access.VerdictObserved, "baseline.child", "PTRACE_TRACEME"},
		"its own memory":             {enforce, Question{Vector: access.VectorProcessVMReadv, Relation: access.RelationSelf, Tier: lsm}, access.VerdictObserved, "", "no event"},
		"mode off":                   {map[string]string{AnnotationPrefix + KeyMode: "off"}, Question{Vector: access.VectorProcMem, Relation: access.RelationHost, Tier: lsm}, access.VerdictObserved, "", "off"},
		"inbound from the host":      {enforce, Question{Vector: access.VectorProcMem, Relation: access.RelationHost, Inbound: true, Tier: lsm}, access.VerdictObserved, "strict.inbound", "only ever observed"},
		"inbound from a container":   {enforce, Question{Vector: access.VectorProcMem, Relation: access.RelationOtherContainer, Inbound: true, Tier: lsm}, access.VerdictRefused, "strict.inbound", "another container"},
		"its own memory for writing": {enforce, Question{Vector: access.VectorSelfMem, Relation: access.RelationSelf, Tier: lsm}, access.VerdictRefused, "strict.self_mem_write", "EACCES"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := explained(t, test.annotations)
			e, err := plan.Explain(test.question)
			if err != nil {
				t.Fatal(err)
			}
			if e.Verdict != test.verdict || e.Rule != test.rule || e.Policy != plan.Digest || !strings.Contains(strings.Join(e.Why, "\n"), test.why) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// Another container, and processes of the node, read what procfs tells of a guarded process.
func TestExplainInboundRecon(t *testing.T) {
	plan := explained(t, map[string]string{AnnotationPrefix + KeyMode: "enforce", AnnotationPrefix + KeyProfile: "strict"})
	for _, test := range []struct {
		recon    Action
		relation access.Relation
		tier     access.Tier
		verdict  access.Verdict
		rule     string
		why      string
	}{
		{ActionRefuse, access.RelationOtherContainer, access.TierLSM, access.VerdictRefused, "strict.inbound", "another container"},
		{ActionRefuse, access.RelationOtherContainer, access.TierTracepoint, access.VerdictObserved, "strict.inbound", "without an event"},
		{ReconAudit, access.RelationSamePod, access.TierLSM, access.VerdictObserved, "strict.recon", `"audit"`},
		{ActionRefuse, access.RelationHost, access.TierLSM, access.VerdictObserved, "", "agents"},
		{ReconOff, access.RelationOtherContainer, access.TierLSM, access.VerdictObserved, "", "if the target is in another container"},
	} {
		plan.Rules.Recon = test.recon
		e, err := plan.Explain(Question{Vector: access.VectorRecon, Relation: test.relation, Inbound: true, Tier: test.tier})
		if err != nil {
			t.Fatal(err)
		}
		if e.Verdict != test.verdict || e.Rule != test.rule || !strings.Contains(strings.Join(e.Why, "\n"), test.why) {
			t.Errorf("%+v: got %+v", test, e)
		}
	}
}

// For every question that has an answer, the explanation must agree with the decision.
func TestExplainIsDecide(t *testing.T) {
	plan := explained(t, map[string]string{AnnotationPrefix + KeyMode: "enforce"})
	plan.Rules.Recon = ReconAudit
	asked := 0
	for vector := range access.Vector(access.Vectors) {
		for relation := range access.Relation(access.Relations) {
			for _, inbound := range []bool{false, true} {
				for _, tier := range []access.Tier{access.TierLSM, access.TierTracepoint} {
					q := Question{Vector: vector, Relation: relation, Inbound: inbound, Tier: tier}
					e, err := plan.Explain(q)
					if err != nil {
						continue
					}
					asked++
					d := plan.Decide(Deed{Vector: vector, Operation: Purpose(vector), Relation: relation, Inbound: inbound}, tier)
					stopped := e.Verdict != access.VerdictObserved
					if e.Action != d.Action || e.Rule != d.Rule || e.Severity != d.Severity || stopped != (d.Verdict != access.VerdictObserved && vector.SeenIn(tier)) || len(e.Why) == 0 {
						t.Errorf("%+v is decided as %+v and explained as %+v", q, d, e)
					}
				}
			}
		}
	}
	if asked < 100 {
		t.Errorf("%d questions had an answer", asked)
	}
}

func TestExplainRefusesNonsense(t *testing.T) {
	for name, test := range map[string]struct {
		question Question
		want     string
	}{
		"no tier":             {Question{Relation: access.RelationHost}, "tier"},
		"no relation":         {Question{Tier: access.TierLSM}, "relation"},
		"another's own":       {Question{Vector: access.VectorSelfMem, Relation: access.RelationHost, Tier: access.TierLSM}, "self"},
		"inbound from within": {Question{Relation: access.RelationChild, Inbound: true, Tier: access.TierLSM}, "outside"},
		"inbound exception":   {Question{Relation: access.RelationHost, Inbound: true, Exception: true, Tier: access.TierLSM}, "actor's container"},
		"traceme of a file":   {Question{Vector: access.VectorProcMem, Relation: access.RelationChild, Traceme: true, Tier: access.TierLSM}, "ptrace"},
		"no such exception":   {Question{Vector: access.VectorPtrace, Relation: access.RelationHost, Exception: true, Tier: access.TierLSM}, "no executable may access"},
	} {
		if _, err := explained(t, nil).Explain(test.question); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What Purpose says of a door of the node must be what the emulation does there.
func TestPurposeOfNode(t *testing.T) {
	asked := 0
	for _, v := range emulate.Vectors() {
		if v.Access.OfNode() {
			asked++
			if got := Purpose(v.Access); got != v.Operation {
				t.Errorf("%s is for %s, and is taken to be for %s", v.Name, v.Operation, got)
			}
		}
	}
	if asked < 4 {
		t.Errorf("%d doors are the node's", asked)
	}
}

package policy

import (
	"errors"
	"testing"

	"github.com/shimward/shimward/access"
)

func planOf(t *testing.T, profile string, mode Mode, without WithoutLSM) *Plan {
	t.Helper()
	rules, ok := builtin(profile)
	if !ok {
		t.Fatalf("no profile %q", profile)
	}
	return &Plan{Mode: mode, Profile: profile, Rules: rules.Rules, WithoutLSM: without}
}

func TestDecide(t *testing.T) {
	const (
		lsm        = access.TierLSM
		tracepoint = access.TierTracepoint
		read       = access.OperationRead
		inspect    = access.OperationInspect
		observed   = access.VerdictObserved
		refused    = access.VerdictRefused
	)
	type in struct {
		profile   string
		mode      Mode
		without   WithoutLSM
		vector    access.Vector
		operation access.Operation
		relation  access.Relation
		inbound   bool
		tier      access.Tier
	}
	for name, test := range map[string]struct {
		in   in
		want Decision
	}{
		"other container": {
			in{"baseline", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationOtherContainer, false, lsm},
			Decision{ActionRefuse, "baseline.other_container", "critical", refused, "", false},
		},
		"a core that another container's signal provokes": {
			in{"baseline", ModeEnforce, "kill", access.VectorCoreDump, read, access.RelationOtherContainer, false, lsm},
			Decision{ActionRefuse, "baseline.other_container", "critical", refused, "", false},
		},
		"a core that its own container's provokes": {
			in{"strict", ModeEnforce, "kill", access.VectorCoreDump, read, access.RelationSameContainer, false, lsm},
			Decision{ActionObserve, "", "info", observed, "", true},
		},
		"a core that the node provokes": {
			in{"strict", ModeEnforce, "kill", access.VectorCoreDump, read, access.RelationHost, true, lsm},
			Decision{ActionObserve, "", "info", observed, "", true},
		},
		"refused, audit": {
			in{"baseline", ModeAudit, "kill", access.VectorProcMem, read, access.RelationHost, false, lsm},
			Decision{ActionRefuse, "baseline.host", "critical", observed, "mode=audit", false},
		},
		"tracepoint tier, kill": {
			in{"baseline", ModeEnforce, "kill", access.VectorPtrace, read, access.RelationSamePod, false, tracepoint},
			Decision{ActionRefuse, "baseline.same_pod", "critical", refused, "", false},
		},
		"tracepoint tier, audit": {
			in{"baseline", ModeEnforce, "audit", access.VectorPtrace, read, access.RelationSamePod, false, tracepoint},
			Decision{ActionRefuse, "baseline.same_pod", "critical", observed, "without_lsm=audit", false},
		},
		"tracepoint tier, refuse": {
			in{"baseline", ModeEnforce, "refuse", access.VectorPtrace, read, access.RelationSamePod, false, tracepoint},
			Decision{ActionRefuse, "baseline.same_pod", "critical", refused, "", false},
		},
		"lsm tier, audit": {
			in{"baseline", ModeEnforce, "audit", access.VectorPtrace, read, access.RelationSamePod, false, lsm},
			Decision{ActionRefuse, "baseline.same_pod", "critical", refused, "", false},
		},
		"same container": {
			in{"baseline", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationSameContainer, false, lsm},
			Decision{ActionObserve, "baseline.same_container", "warning", observed, "", false},
		},
		"same container, strict": {
			in{"strict", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationSameContainer, false, lsm},
			Decision{ActionRefuse, "strict.same_container", "critical", refused, "", false},
		},
		"inspecting": {
			in{"baseline", ModeEnforce, "kill", access.VectorKcmp, inspect, access.RelationSameContainer, false, lsm},
			Decision{ActionObserve, "baseline.same_container", "info", observed, "", false},
		},
		"inspecting the host": {
			in{"baseline", ModeEnforce, "kill", access.VectorKcmp, inspect, access.RelationHost, false, lsm},
			Decision{ActionRefuse, "baseline.host", "critical", refused, "", false},
		},
		"own mem for writing": {
			in{"baseline", ModeEnforce, "kill", access.VectorSelfMem, access.OperationWrite, access.RelationSelf, false, lsm},
			Decision{ActionObserve, "baseline.self_mem_write", "warning", observed, "", false},
		},
		"own mem for writing, strict": {
			in{"strict", ModeEnforce, "kill", access.VectorSelfMem, access.OperationWrite, access.RelationSelf, false, lsm},
			Decision{ActionRefuse, "strict.self_mem_write", "critical", refused, "", false},
		},
		"own memory otherwise": {
			in{"strict", ModeEnforce, "kill", access.VectorProcessVMReadv, read, access.RelationSelf, false, lsm},
			Decision{ActionObserve, "", "info", observed, "", true},
		},
		"off": {
			in{"strict", ModeOff, "kill", access.VectorProcMem, read, access.RelationHost, false, lsm},
			Decision{ActionObserve, "", "info", observed, "", true},
		},
		"inbound, baseline": {
			in{"baseline", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationOtherContainer, true, lsm},
			Decision{ActionObserve, "baseline.inbound", "warning", observed, "", false},
		},
		"inbound, strict": {
			in{"strict", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationOtherContainer, true, lsm},
			Decision{ActionRefuse, "strict.inbound", "critical", refused, "", false},
		},
		"inbound from the host": {
			in{"strict", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationHost, true, lsm},
			Decision{ActionObserve, "strict.inbound", "warning", observed, "", false},
		},
		"inbound from the runtime's exec": {
			in{"strict", ModeEnforce, "kill", access.VectorProcMem, inspect, access.RelationSameContainer, true, lsm},
			Decision{ActionObserve, "strict.inbound", "info", observed, "", false},
		},
		"inbound, by oneself": {
			in{"strict", ModeEnforce, "kill", access.VectorProcMem, read, access.RelationSelf, true, lsm},
			Decision{ActionObserve, "strict.inbound", "warning", observed, "", false},
		},
		"unknown relation": {
			in{"baseline", ModeEnforce, "kill", access.VectorProcMem, read, 0, false, lsm},
			Decision{ActionRefuse, "baseline.host", "critical", refused, "", false},
		},
		"relation out of range": {
			in{"baseline", ModeEnforce, "kill", access.VectorProcMem, read, 200, false, lsm},
			Decision{ActionRefuse, "baseline.host", "critical", refused, "", false},
		},
		"unknown tier": {
			in{"baseline", ModeEnforce, "audit", access.VectorProcMem, read, access.RelationHost, false, 0},
			Decision{ActionRefuse, "baseline.host", "critical", refused, "", false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan := planOf(t, test.in.profile, test.in.mode, test.in.without)
			got := plan.Decide(Deed{Vector: test.in.vector, Operation: test.in.operation, Relation: test.in.relation, Inbound: test.in.inbound}, test.in.tier)
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// The tables that the kernel side gets and the decisions in Go must be the same policy.
func TestDecideAgreesWithTables(t *testing.T) {
	for _, profile := range []string{ProfileBaseline, ProfileStrict} {
		plan := planOf(t, profile, ModeEnforce, WithoutLSMKill)
		for relation := range access.Relation(access.Relations) {
			vector := access.VectorProcMem
			if relation == access.RelationSelf {
				vector = access.VectorSelfMem
			}
			for _, inbound := range []bool{false, true} {
				want := plan.Table()[relation]
				if inbound {
					want = plan.InboundTable()[relation]
				}
				got := plan.Decide(Deed{Vector: vector, Operation: access.OperationRead, Relation: relation, Inbound: inbound}, access.TierLSM)
				if got.Action != want || (got.Verdict == access.VerdictRefused) != (want == ActionRefuse) {
					t.Errorf("%s, %s, inbound %t: decides %+v, the table says %s", profile, relation, inbound, got, want)
				}
			}
		}
	}
}

// The same for recon, whatever the two rules about it say.
func TestDecideAgreesOnRecon(t *testing.T) {
	for _, recon := range []Action{ReconOff, ReconAudit, ActionRefuse} {
		for _, inbound := range []Action{ActionObserve, ActionRefuse} {
			plan := planOf(t, ProfileStrict, ModeEnforce, WithoutLSMKill)
			plan.Rules.Recon, plan.Rules.Inbound = recon, inbound
			for relation := range access.Relation(access.Relations) {
				for _, inward := range []bool{false, true} {
					want := recon
					if inward {
						want = plan.InboundRecon()
						if relation != access.RelationSamePod && relation != access.RelationOtherContainer {
							want = ReconOff // the programs treat no other process as another container's
						}
					}
					got := plan.Decide(Deed{Vector: access.VectorRecon, Operation: access.OperationInspect, Relation: relation, Inbound: inward}, access.TierLSM)
					if got.Quiet != (want == ReconOff) || !got.Quiet && got.Action != want || (got.Verdict == access.VerdictRefused) != (want == ActionRefuse) {
						t.Errorf("recon = %q, inbound = %q, %s, inbound %t: decides %+v, the table says %s", recon, inbound, relation, inward, got, want)
					}
				}
			}
		}
	}
}

// When another container reads what procfs tells, the decision must name the rule that let it
// through or refuses it.
func TestDecideInboundRecon(t *testing.T) {
	quiet := Decision{Action: ActionObserve, Severity: "info", Verdict: access.VerdictObserved, Quiet: true}
	for _, test := range []struct {
		recon, inbound Action
		relation       access.Relation
		want           Decision
	}{
		{ActionRefuse, ActionRefuse, access.RelationOtherContainer, Decision{ActionRefuse, "strict.inbound", "critical", access.VerdictRefused, "", false}},
		{ActionRefuse, ActionObserve, access.RelationOtherContainer, Decision{ActionObserve, "strict.inbound", "info", access.VerdictObserved, "", false}},
		{ReconAudit, ActionRefuse, access.RelationSamePod, Decision{ReconAudit, "strict.recon", "info", access.VerdictObserved, "", false}},
		{ReconOff, ActionRefuse, access.RelationOtherContainer, quiet},
		{ActionRefuse, ActionRefuse, access.RelationHost, quiet},
	} {
		plan := planOf(t, ProfileStrict, ModeEnforce, WithoutLSMKill)
		plan.Rules.Recon, plan.Rules.Inbound = test.recon, test.inbound
		got := plan.Decide(Deed{Vector: access.VectorRecon, Operation: access.OperationInspect, Relation: test.relation, Inbound: true}, access.TierLSM)
		if got != test.want {
			t.Errorf("%+v: got %+v", test, got)
		}
	}
}

func TestTraceme(t *testing.T) {
	decide := func(profile string) Decision {
		return planOf(t, profile, ModeAudit, WithoutLSMKill).
			Decide(Deed{Vector: access.VectorPtrace, Operation: access.OperationAttach, Relation: access.RelationChild}, access.TierLSM).Traceme()
	}
	if got := decide(ProfileBaseline).Severity; got != SeverityInfo {
		t.Errorf("observed: severity %s", got)
	}
	if got := decide(ProfileStrict).Severity; got != SeverityCritical {
		t.Errorf("refused: severity %s", got)
	}
}

func TestExcept(t *testing.T) {
	plan := planOf(t, ProfileStrict, ModeEnforce, WithoutLSMKill)
	if _, ok := plan.Except(access.RelationChild); ok {
		t.Error("a plan without exceptions made one")
	}
	plan.Allow, plan.AllowPod = []string{"/a"}, []string{"/b"}
	for relation, rule := range map[access.Relation]string{
		access.RelationSelf: "strict.allow", access.RelationChild: "strict.allow", access.RelationSameContainer: "strict.allow",
		access.RelationSamePod: "strict.allow_pod", access.RelationOtherContainer: "", access.RelationHost: "", 0: "", 99: "",
	} {
		got, ok := plan.Except(relation)
		if ok != (rule != "") || got.Rule != rule {
			t.Errorf("%s: got %+v, %t", relation, got, ok)
		}
	}
}

func TestCheckTier(t *testing.T) {
	for _, test := range []struct {
		mode    Mode
		without WithoutLSM
		tier    access.Tier
		ok      bool
	}{
		{ModeEnforce, WithoutLSMRefuse, access.TierTracepoint, false},
		{ModeEnforce, WithoutLSMRefuse, 0, false},
		{ModeEnforce, WithoutLSMRefuse, access.TierLSM, true},
		{ModeAudit, WithoutLSMRefuse, access.TierTracepoint, true},
		{ModeEnforce, WithoutLSMKill, access.TierTracepoint, true},
		{ModeEnforce, WithoutLSMAudit, access.TierTracepoint, true},
	} {
		err := planOf(t, ProfileBaseline, test.mode, test.without).CheckTier(test.tier)
		if (err == nil) != test.ok {
			t.Errorf("%+v: got %v", test, err)
		}
		if err != nil {
			if !errors.Is(err, ErrTier) {
				t.Errorf("%v is no ErrTier", err)
			}
			wantError(t, err, `without_lsm = "refuse"`, "shimward.dev/mode")
		}
	}
}

package verify

import (
	"bytes"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
)

// outcome returns a report with one attempt at a vector.
func outcome(outcome emulate.Outcome, vector access.Vector) emulate.Report {
	return emulate.Report{Results: []emulate.Result{{Vector: emulate.Vector{Name: "it", Access: vector}, Outcome: outcome}}}
}

func TestVerdict(t *testing.T) {
	const mem, fd = access.VectorProcMem, access.VectorProcFD
	for name, test := range map[string]struct {
		vector         access.Vector
		tier           access.Tier
		runc, shimward emulate.Outcome
		want           Verdict
		held           bool
	}{
		"refused":                       {mem, access.TierLSM, emulate.OutcomeSecret, emulate.OutcomeRefused, VerdictHeld, true},
		"killed":                        {mem, access.TierTracepoint, emulate.OutcomeChanged, emulate.OutcomeKilled, VerdictHeld, true},
		"through":                       {mem, access.TierTracepoint, emulate.OutcomeSecret, emulate.OutcomeSecret, VerdictThrough, false},
		"through under shimward alone":  {mem, access.TierTracepoint, emulate.OutcomeFailed, emulate.OutcomeReached, VerdictThrough, false},
		"nobody answers":                {mem, access.TierTracepoint, emulate.OutcomeSecret, emulate.OutcomeUnsupported, VerdictLost, false},
		"fails":                         {mem, access.TierTracepoint, emulate.OutcomeSecret, emulate.OutcomeFailed, VerdictLost, false},
		"not in this kernel":            {mem, access.TierTracepoint, emulate.OutcomeUnsupported, emulate.OutcomeUnsupported, VerdictUnproved, false},
		"refused by runc too":           {mem, access.TierTracepoint, emulate.OutcomeRefused, emulate.OutcomeRefused, VerdictUnproved, false},
		"of no sensor":                  {fd, access.TierTracepoint, emulate.OutcomeSecret, emulate.OutcomeSecret, VerdictUnseen, false},
		"through, and a sensor sees it": {fd, access.TierLSM, emulate.OutcomeSecret, emulate.OutcomeSecret, VerdictThrough, false},
		"refused where a sensor sees":   {fd, access.TierLSM, emulate.OutcomeSecret, emulate.OutcomeRefused, VerdictHeld, true},
	} {
		t.Run(name, func(t *testing.T) {
			report := judge(test.tier, outcome(test.runc, test.vector), outcome(test.shimward, test.vector))
			if got := report.Results[0].Verdict; got != test.want || report.Held != test.held {
				t.Errorf("%s, held %t; want %s, %t", got, report.Held, test.want, test.held)
			}
		})
	}
}

// An attempt that is killed after it got the secret counts as through.
func TestVerdictOfAKillThatCameTooLate(t *testing.T) {
	late := outcome(emulate.OutcomeKilled, access.VectorProcMem)
	late.Results[0].Got = true
	report := judge(access.TierTracepoint, outcome(emulate.OutcomeSecret, access.VectorProcMem), late)
	if report.Results[0].Verdict != VerdictThrough || report.Held {
		t.Errorf("%+v", report)
	}
}

func TestLastLine(t *testing.T) {
	for want, verdicts := range map[string][]Verdict{
		"shimward holds on this node (tier tracepoint): 1 held, 1 not in this tier, 1 show nothing": {VerdictHeld, VerdictUnseen, VerdictUnproved},
		"does NOT hold on this node (tier tracepoint): 1 got through; 1 held":                       {VerdictHeld, VerdictThrough, VerdictLost},
		"does NOT hold on this node (tier tracepoint): 1 failed, but not because of shimward":       {VerdictHeld, VerdictLost},
		"this run shows nothing about this node (tier tracepoint)":                                  {VerdictUnproved},
	} {
		report := Report{Tier: access.TierTracepoint, Held: len(verdicts) == 3 && verdicts[1] == VerdictUnseen}
		for _, verdict := range verdicts {
			report.Results = append(report.Results, Result{Name: "it", Verdict: verdict})
		}
		var out bytes.Buffer
		if err := report.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, want) {
			t.Errorf("the last line is %q, want %q", last, want)
		}
	}
}

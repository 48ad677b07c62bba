package verify

import (
	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
)

// Verdict is the verdict on a vector.
type Verdict string

// The verdicts. With the last two the node did not hold.
const (
	VerdictHeld     Verdict = "held"              // succeeded under runc, and was stopped under shimward
	VerdictUnseen   Verdict = "not in this tier"  // no sensor of this tier sees it, and shimward does not claim otherwise
	VerdictUnproved Verdict = "shows nothing"     // does not succeed under runc either
	VerdictThrough  Verdict = "GOT THROUGH"       // succeeded under enforce
	VerdictLost     Verdict = "STOPPED BY NOBODY" // failed for a reason other than shimward
)

// Result is the result for one vector.
type Result struct {
	Name     string          `json:"name"`
	Access   access.Vector   `json:"access"`
	Runc     emulate.Outcome `json:"runc"`
	Shimward emulate.Outcome `json:"shimward"`
	Detail   string          `json:"detail,omitempty"` // the errno or signal under shimward
	Verdict  Verdict         `json:"verdict"`
}

// Report is the result for a node.
type Report struct {
	Tier    access.Tier `json:"tier"`
	Held    bool        `json:"held"`
	Results []Result    `json:"results"`
}

// judge compares the attacks under enforce with the same attacks under stock runc: an attempt that
// fails there too shows nothing. Both reports contain all vectors, in the same order.
func judge(tier access.Tier, runc, shimward emulate.Report) Report {
	report := Report{Tier: tier}
	for i, result := range shimward.Results {
		report.Results = append(report.Results, Result{
			Name: result.Name, Access: result.Access, Runc: runc.Results[i].Outcome, Shimward: result.Outcome,
			Detail: detail(result), Verdict: verdict(tier, runc.Results[i], result),
		})
	}
	// A node on which no attack works proves nothing.
	report.Held = report.count(VerdictHeld) > 0 && report.count(VerdictThrough)+report.count(VerdictLost) == 0
	return report
}

func verdict(tier access.Tier, runc, shimward emulate.Result) Verdict {
	switch stopped := shimward.Outcome == emulate.OutcomeRefused || shimward.Outcome == emulate.OutcomeKilled; {
	case !shimward.Access.SeenIn(tier):
		return VerdictUnseen
	case shimward.Through() || shimward.Got || shimward.Changed:
		return VerdictThrough
	case !runc.Through():
		return VerdictUnproved
	case stopped:
		return VerdictHeld
	default: // such as ENOSYS because the listener is gone
		return VerdictLost
	}
}

func detail(result emulate.Result) string {
	if result.Errno != "" {
		return result.Errno
	}
	return result.Signal
}

func (r *Report) count(verdict Verdict) int {
	count := 0
	for _, result := range r.Results {
		if result.Verdict == verdict {
			count++
		}
	}
	return count
}

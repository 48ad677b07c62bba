package peers

import (
	"slices"
	"strings"
)

// Comparison is what a suite came to under both runtimes.
type Comparison struct {
	Suite string `json:"suite"`
	Rows  []Row  `json:"rows"`
}

// Row is a test.
type Row struct {
	Test  string             `json:"test"`
	Cells map[Runtime][]Cell `json:"cells"` // one a try
}

// Cell is one try.
type Cell struct {
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
}

// knownDifferences are tests that shimward does not pass by what it is, with the reason.
var knownDifferences = map[string]string{
	"[k8s.io] Security Context SeccompProfilePath should support seccomp unconfined on the container": unconfined,
	"[k8s.io] Security Context SeccompProfilePath should support nil profile, which is unconfined":    unconfined,
}

const unconfined = "the test wants `Seccomp: 0` in `/proc/self/status`, but a guarded container always has a filter; if the container asks " +
	"for none, the filter is shimward's own, and refuses only what shimward's profile refuses; with `shimward.dev/mode: off` there is none"

// Add adds what a run of the suite came to, or of the tests of it that are named:
// ginkgo reports all others as skipped then.
func (c *Comparison) Add(results map[Runtime][]Result, only ...string) {
	for _, runtime := range Runtimes() {
		for _, result := range results[runtime] {
			if len(only) > 0 && !slices.Contains(only, c.top(Row{Test: result.Test})) {
				continue
			}
			at := slices.IndexFunc(c.Rows, func(r Row) bool { return r.Test == result.Test })
			if at < 0 {
				at = len(c.Rows)
				c.Rows = append(c.Rows, Row{Test: result.Test, Cells: map[Runtime][]Cell{}})
			}
			c.Rows[at].Cells[runtime] = append(c.Rows[at].Cells[runtime], Cell{result.Outcome, result.Reason})
		}
	}
}

// Has tells whether the suite was run under the runtime.
func (c *Comparison) Has(runtime Runtime) bool {
	return slices.ContainsFunc(c.Rows, func(r Row) bool { return len(r.Cells[runtime]) > 0 })
}

// Unsettled are the top-level tests that were not passed at once by both, nor skipped.
func (c *Comparison) Unsettled() []string {
	var names []string
	for _, row := range c.Rows {
		if top := c.top(row); !c.settled(row) && !slices.Contains(names, top) {
			names = append(names, top)
		}
	}
	return names
}

// Forget drops what some tests came to: what was tried may have changed.
func (c *Comparison) Forget(only []string) {
	for i, row := range c.Rows {
		if slices.Contains(only, c.top(row)) {
			c.Rows[i].Cells = map[Runtime][]Cell{}
		}
	}
}

// Doubtful are the top-level tests that did not pass in both columns, nor were
// skipped in both: what is to be tried again.
func (c *Comparison) Doubtful() []string {
	if !c.Has(Shimward) {
		return nil // there is nothing to doubt
	}
	var names []string
	for _, row := range c.Rows {
		top := c.top(row)
		settled := row.outcome(Runc) == row.outcome(Shimward) && (row.outcome(Runc) == Passed || row.outcome(Runc) == Skipped)
		if !settled && !slices.Contains(names, top) {
			names = append(names, top)
		}
	}
	return names
}

// Regressions are the tests that runc passes and shimward does not, but those of
// which it is known why.
func (c *Comparison) Regressions() []string {
	if !c.Has(Shimward) {
		return nil
	}
	var names []string
	for _, row := range c.Rows {
		if row.outcome(Runc) == Passed && row.outcome(Shimward) != Passed && knownDifferences[row.Test] == "" {
			names = append(names, row.Test)
		}
	}
	return names
}

// top is the test that a subtest is of.
func (c *Comparison) top(row Row) string {
	if c.Suite == "critest" {
		return row.Test // a sentence, with no subtests
	}
	top, _, _ := strings.Cut(row.Test, "/")
	return top
}

// outcome is Passed if any try was.
func (r Row) outcome(runtime Runtime) Outcome {
	tries := r.Cells[runtime]
	if len(tries) == 0 {
		return NotThere
	}
	for _, try := range tries {
		if try.Outcome == Passed {
			return Passed
		}
	}
	return tries[len(tries)-1].Outcome
}

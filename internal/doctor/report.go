package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/shimward/shimward/access"
)

// State is the severity of a finding.
type State string

// The states.
const (
	StateOK   State = "ok"
	StateWarn State = "warn" // something is worse than it could be, but the config's promises hold
	StateFail State = "fail" // guarded containers do not start, or a promise of the config cannot be kept
)

// Finding is the result of one check.
type Finding struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Text   string `json:"text"`             // what was found
	Advice string `json:"advice,omitempty"` // what to do about it
}

// Report is the diagnosis of a node.
type Report struct {
	Tier     *access.Tier `json:"tier"` // null if the kernel accepts none of shimward's programs
	Kept     bool         `json:"kept"` // the node can keep what its config promises
	Findings []Finding    `json:"findings"`
}

func (r *Report) add(name string, state State, text, advice string) {
	r.Findings = append(r.Findings, Finding{Name: name, State: state, Text: text, Advice: advice})
}

// check adds a failed finding with err's text or, if err is nil, an ok finding with the text ok.
func (r *Report) check(name, ok string, err error, advice string) {
	if err != nil {
		r.add(name, StateFail, err.Error(), advice)
		return
	}
	r.add(name, StateOK, ok, "")
}

func (r *Report) conclude() *Report {
	r.Kept = !r.failed()
	return r
}

func (r *Report) failed() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.State == StateFail })
}

// WriteText writes the report for people.
func (r *Report) WriteText(out io.Writer) error {
	width := 0
	for _, finding := range r.Findings {
		width = max(width, len(finding.Name))
	}
	for _, finding := range r.Findings {
		lines := strings.Split(finding.Text, "\n")
		if finding.Advice != "" {
			lines = append(lines, "-> "+finding.Advice)
		}
		state, name := string(finding.State), finding.Name
		for _, line := range lines {
			if _, err := fmt.Fprintf(out, "%-5s %-*s  %s\n", state, width, name, line); err != nil {
				return err
			}
			state, name = "", ""
		}
	}
	conclusion := "this node can keep what its config promises"
	if !r.Kept {
		conclusion = "this node cannot keep what its config promises: see the lines marked \"fail\""
	}
	_, err := fmt.Fprintf(out, "\n%s\n", conclusion)
	return err
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

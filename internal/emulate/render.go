package emulate

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteText writes the report as a table for people.
func (r *Report) WriteText(out io.Writer) error {
	fmt.Fprintf(out, "attacker: %s\n", r.Attacker)
	if r.Victim != nil {
		fmt.Fprintf(out, "victim:   pid %d, a secret of %d bytes at %#x\n", r.Victim.PID, secretLength, r.Victim.Address)
	} else {
		fmt.Fprintln(out, "victim:   a child of each attempt")
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VECTOR\tGOT SECRET\tCHANGED MEMORY\tOUTCOME\tDETAIL")
	through := 0
	for _, result := range r.Results {
		if result.Through() {
			through++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", result.Name,
			answer(result.Got, result.Goal == GoalSecret), answer(result.Changed, result.Goal == GoalChange),
			result.Outcome, result.detail())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d of %d attempts got through\n", through, len(r.Results))
	return err
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func answer(yes, asked bool) string {
	switch {
	case yes:
		return "yes"
	case asked:
		return "no"
	default:
		return "-"
	}
}

func (r Result) detail() string {
	detail := r.Error
	switch {
	case r.Signal != "":
		detail = r.Signal + " at: " + r.Step
	case r.Errno != "":
		detail = r.Errno + ": " + r.Error
	}
	if r.Through() {
		detail = joinNotes(r.Error, r.Signal)
	}
	return joinNotes(detail, r.Note)
}

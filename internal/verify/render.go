package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteText writes the report as a table for people, with the conclusion as the last line.
func (r *Report) WriteText(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "VECTOR\tSTOCK RUNC\tSHIMWARD ENFORCE\tVERDICT")
	for _, result := range r.Results {
		became := string(result.Shimward)
		if result.Detail != "" {
			became += " " + result.Detail
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", result.Name, result.Runc, became, result.Verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", r.conclusion())
	return err
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func (r *Report) conclusion() string {
	counts := fmt.Sprintf("%d held, %d not in this tier, %d show nothing", r.count(VerdictHeld), r.count(VerdictUnseen), r.count(VerdictUnproved))
	switch through, lost := r.count(VerdictThrough), r.count(VerdictLost); {
	case through > 0:
		return fmt.Sprintf("shimward does NOT hold on this node (tier %s): %d got through; %s", r.Tier, through, counts)
	case lost > 0:
		return fmt.Sprintf("shimward does NOT hold on this node (tier %s): %d failed, but not because of shimward; %s", r.Tier, lost, counts)
	case !r.Held:
		return fmt.Sprintf("this run shows nothing about this node (tier %s): no attack works under stock runc either; %s", r.Tier, counts)
	default:
		return fmt.Sprintf("shimward holds on this node (tier %s): %s", r.Tier, counts)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// table is the result of one kind of measurement.
type table struct {
	Title string `json:"title"`
	Unit  string `json:"unit"`
	Rows  []row  `json:"rows"`
}

// row is one quantity in several arrangements. The others are compared with the first.
type row struct {
	Name    string   `json:"name"`
	Columns []column `json:"columns"`
}

// column is one quantity in one arrangement, over all rounds.
type column struct {
	Arrangement string     `json:"arrangement"`
	Median      float64    `json:"median"`
	Quartiles   [2]float64 `json:"quartiles"`
	// Ratio is the median of this arrangement's value divided by the first one's in the same round.
	Ratio          float64    `json:"ratio"`
	RatioQuartiles [2]float64 `json:"ratio_quartiles"`
	Budget         float64    `json:"budget,omitempty"`
	Values         []float64  `json:"values"`
}

// newRow makes a row from values by arrangement and round.
func newRow(name string, arrangements []string, budgets []float64, values [][]float64) row {
	r := row{Name: name}
	for i, arrangement := range arrangements {
		ratios := make([]float64, len(values[i]))
		for round := range ratios {
			ratios[round] = values[i][round] / values[0][round]
		}
		r.Columns = append(r.Columns, column{
			Arrangement: arrangement,
			Median:      quantile(values[i], 0.5),
			Quartiles:   [2]float64{quantile(values[i], 0.25), quantile(values[i], 0.75)},
			Ratio:       quantile(ratios, 0.5),
			RatioQuartiles: [2]float64{
				quantile(ratios, 0.25), quantile(ratios, 0.75),
			},
			Values: values[i],
		})
		if budgets != nil {
			r.Columns[i].Budget = budgets[i]
		}
	}
	return r
}

// quantile interpolates linearly between the two nearest values.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

func (c column) budget() string {
	if c.Budget == 0 {
		return ""
	}
	return fmt.Sprintf("; budget %.2f", c.Budget)
}

func (t table) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s (%s; ratio: median over rounds, and its quartiles)\n\n", t.Title, t.Unit)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	for i, r := range t.Rows {
		if i == 0 {
			fmt.Fprint(w, "\t")
			for _, c := range r.Columns {
				fmt.Fprintf(w, "%s\t", c.Arrangement)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\t", r.Name)
		for j, c := range r.Columns {
			if j == 0 {
				fmt.Fprintf(w, "%.4g\t", c.Median)
				continue
			}
			fmt.Fprintf(w, "%.4g  %.3fx (%.3f-%.3f%s)\t", c.Median, c.Ratio, c.RatioQuartiles[0], c.RatioQuartiles[1], c.budget())
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func writeJSON(path string, results []table) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil { //nolint:gosec // figures for anyone to read
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

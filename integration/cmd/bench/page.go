package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/integration/internal/node"
)

const pageIntro = `# What shimward costs

` + "`make benchmarks`" + ` writes this page. It measures every arrangement once in each round, in an order that
rotates, on one machine and in one run: %s.

- A ratio compares two measurements of the same round. This page gives its median
  over %d rounds (create to exit: %d, pods: %d), with its quartiles in brackets.
- The ratio of a time to an event compares two quantiles, once.
- Where there is a budget, the cell says whether the median is above it.

` + "`make bench`" + ` prints the same for your machine. Figures without shimward differ between machines by far
more than the ratios do.
`

// writePage writes the results of a whole run as a page.
func writePage(path, where string, rounds int, results []table) error {
	text := &strings.Builder{}
	fmt.Fprintf(text, pageIntro, where, rounds, lifecycles(rounds), crowds(rounds))
	for _, t := range results {
		t.page(text)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil { //nolint:gosec // a page for everybody
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// page writes a table, whose rows have the same arrangements, or for each of them a
// list of its own where it has another one.
func (t table) page(text *strings.Builder) {
	fmt.Fprintf(text, "\n## %s\n", t.Title)
	header := ""
	for _, r := range t.Rows {
		line := "| " + t.Unit + " |"
		rule := "|---|"
		for _, c := range r.Columns {
			line += " " + c.Arrangement + " |"
			rule += "---:|"
		}
		if line != header {
			header = line
			fmt.Fprintf(text, "\n%s\n%s\n", line, rule)
		}
		fmt.Fprintf(text, "| %s |", r.Name)
		for i, c := range r.Columns {
			fmt.Fprintf(text, " %s |", c.cell(i == 0))
		}
		text.WriteByte('\n')
	}
}

// cell is a column's figure and, if it is not what the others are compared with, how it compares.
func (c column) cell(first bool) string {
	if first {
		return figure(c.Median)
	}
	cell := fmt.Sprintf("%s, **%.3fx**", figure(c.Median), c.Ratio)
	if len(c.Values) > 1 {
		cell += fmt.Sprintf(" (%.3f–%.3f)", c.RatioQuartiles[0], c.RatioQuartiles[1])
	}
	switch {
	case c.Budget == 0:
		return cell
	case c.Ratio > c.Budget:
		return cell + fmt.Sprintf(", above its budget of %.2f", c.Budget)
	default:
		return cell + fmt.Sprintf(", budget %.2f", c.Budget)
	}
}

// figure has as many digits as mean something.
func figure(value float64) string {
	if value >= 1000 {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.4g", value)
}

// machine says what was measured on.
func (b *bench) machine(ctx context.Context) (string, error) {
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return "", err
	}
	release := strings.SplitN(unix.ByteSliceToString(kernel.Release[:]), "-", 2)[0]
	said := fmt.Sprintf("Linux %s on %d %s processors (`%s` tier)", release, runtime.NumCPU(), runtime.GOARCH, node.Tier())
	for _, engine := range []string{"containerd", "runc"} {
		out, err := exec.CommandContext(ctx, filepath.Join(b.engines, engine), "--version").Output() //nolint:gosec // the engines that were measured
		if err != nil {
			return "", fmt.Errorf("ask %s for its version: %w", engine, err)
		}
		said += fmt.Sprintf(", %s %s", engine, version(string(out)))
	}
	return said, nil
}

// version is the first word of what an engine says of itself that begins with a digit, after a v or not.
func version(said string) string {
	for _, word := range strings.Fields(said) {
		if number := strings.TrimPrefix(word, "v"); number != "" && number[0] >= '0' && number[0] <= '9' {
			number, _, _ = strings.Cut(number, "+") // of whoever built it
			return number
		}
	}
	return "of an unknown version"
}

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The lines of the page that enclose the table.
const (
	begin = "<!-- stories: made by make stories -->\n"
	end   = "<!-- stories: end -->\n"
)

// mark begins the line in which a run reports its containerd release and tier.
const mark = "told on: "

// The values of the table's cells.
const (
	passed = "✓"
	failed = "failed"
	absent = "" // not run there
)

// told is the result of one run of the stories.
type told struct {
	Containerd string `json:"containerd"`
	Tier       string `json:"tier"`
	names      []string
	outcomes   map[string]string // by story name: passed or failed
}

func (r told) column() string { return r.Containerd + ", " + r.Tier }

// read parses the output of go test -json.
func read(in io.Reader) (told, error) {
	run := told{outcomes: map[string]string{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var said struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &said) != nil {
			continue // not JSON: another tool's output
		}
		if _, text, ok := strings.Cut(said.Output, mark); ok {
			if err := json.Unmarshal([]byte(text), &run); err != nil {
				return told{}, fmt.Errorf("where the stories were told: %w in %q", err, text)
			}
		}
		name, ok := strings.CutPrefix(said.Test, "TestStories/")
		outcome := map[string]string{"pass": passed, "fail": failed}[said.Action]
		if !ok || outcome == "" || strings.Contains(name, "/") {
			continue
		}
		name = strings.ReplaceAll(name, "_", " ")
		if run.outcomes[name] == "" {
			run.names = append(run.names, name)
		}
		run.outcomes[name] = outcome
	}
	if err := lines.Err(); err != nil {
		return told{}, err
	}
	if run.Containerd == "" || run.Tier == "" || len(run.names) == 0 {
		return told{}, errors.New("it has no story, or does not say where it was told")
	}
	return run, nil
}

// merge adds a run. If there already is a run on the same node, the outcomes in next replace its
// outcomes of the same stories.
func merge(runs []told, next told) []told {
	for i := range runs {
		if runs[i].column() != next.column() {
			continue
		}
		for _, name := range next.names {
			if runs[i].outcomes[name] == absent {
				runs[i].names = append(runs[i].names, name)
			}
			runs[i].outcomes[name] = next.outcomes[name]
		}
		return runs
	}
	return append(runs, next)
}

// render returns the table, with the stories in the order of the run that has most of them.
func render(runs []told) string {
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b told) int { return cmp.Compare(a.column(), b.column()) })
	names := slices.Clone(slices.MaxFunc(runs, func(a, b told) int { return cmp.Compare(len(a.names), len(b.names)) }).names)
	for _, run := range runs {
		for _, name := range run.names {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	var table strings.Builder
	table.WriteString("| story |")
	for _, run := range runs {
		fmt.Fprintf(&table, " containerd %s |", run.column())
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(runs)) + "\n")
	for _, name := range names {
		fmt.Fprintf(&table, "| %s |", name)
		for _, run := range runs {
			fmt.Fprintf(&table, " %s |", cmp.Or(run.outcomes[name], absent))
		}
		table.WriteString("\n")
	}
	return table.String()
}

// cut splits a page around its table.
func cut(page string) (before, table, after string, err error) {
	before, rest, found := strings.Cut(page, begin)
	table, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", "", "", fmt.Errorf("there are no lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin, table, end + after, nil
}

// check returns an error unless the page's table shows exactly the stories and outcomes of each
// run. The page may have columns of other runs.
func check(table string, runs []told) error {
	had := parse(table)
	var errs []error
	for _, run := range runs {
		column, ok := had[run.column()]
		if !ok {
			errs = append(errs, fmt.Errorf("there is no column containerd %s", run.column()))
			continue
		}
		for _, name := range run.names {
			if column[name] != run.outcomes[name] {
				errs = append(errs, fmt.Errorf("%s on %s: the page says %q, the run %q", name, run.column(), column[name], run.outcomes[name]))
			}
		}
		for name, outcome := range column {
			if outcome != run.outcomes[name] {
				errs = append(errs, fmt.Errorf("%s on %s: the page says %q, the run %q", name, run.column(), outcome, run.outcomes[name]))
			}
		}
	}
	return errors.Join(errs...)
}

// parse returns the outcomes in a table, by column and story.
func parse(table string) map[string]map[string]string {
	var columns []string
	had := map[string]map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
		}
		switch {
		case columns == nil:
			for _, title := range cells[1:] {
				column := strings.TrimPrefix(title, "containerd ")
				columns = append(columns, column)
				had[column] = map[string]string{}
			}
		case strings.HasPrefix(cells[0], "---"):
		default:
			for i, outcome := range cells[1:] {
				if i < len(columns) {
					had[columns[i]][cells[0]] = outcome
				}
			}
		}
	}
	return had
}

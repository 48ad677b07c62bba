package peers

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Facts are of the machine and of what ran on it.
type Facts struct {
	Kernel   string            `json:"kernel"`
	Tier     string            `json:"tier"`
	Versions map[string]string `json:"versions"`
}

const intro = `# The peers' own tests

containerd, Kubernetes and the OCI have test suites for what they expect of a runtime. Here these suites
run twice on the same machine: under stock runc, and under shimward as it is without a config
(` + "`mode=audit`" + `, profile ` + "`baseline`" + `). shimward has to pass what runc passes. ` + "`make peers`" + ` writes this page.
It fails if shimward does not pass such a test, unless the row says why it cannot.

The suites are built as their authors publish them, and are not changed. They run in mount and network
namespaces and a cgroup of their own. The images that they pull come from a registry in there. These
images have the names, users and files that the tests look for, and are made of Debian's busybox. A test
that needs something from the real image therefore fails in both columns.

*Skipped* means that the suite itself skips the test on this machine. A test that does not pass, or whose
results differ, is tried a second time by itself. If the two tries differ, the cell says so.

The client suite skips the checkpoint tests because it is run with ` + "`-no-criu`" + `: Debian's CRIU does not
start on the machine that these results are from (` + "`vdso: Unexpected rt vDSO area bounds`" + `). Where CRIU does
start, the tests that restore a container fail under shimward, because it refuses that unless the mode is
` + "`off`" + ` ([threat model](threat-model.md#where-it-ends)).

`

// Page writes the page.
func Page(out io.Writer, facts Facts, comparisons []Comparison) error {
	text := &strings.Builder{}
	text.WriteString(intro)
	fmt.Fprintf(text, "Linux %s (`%s` tier)", facts.Kernel, facts.Tier)
	for _, name := range []string{"containerd", "runc", "cri-tools", "CNI plugins"} {
		if version := facts.Versions[name]; version != "" {
			fmt.Fprintf(text, ", %s %s", name, version)
		}
	}
	text.WriteString(".\n\n| suite | tests | runc passes | shimward passes | of runc's, shimward does not |\n|---|---|---|---|---|\n")
	for _, c := range comparisons {
		suite, err := Find(c.Suite)
		if err != nil {
			return err
		}
		shimward, missing := strconv.Itoa(c.count(Shimward)), strconv.Itoa(len(c.Regressions())+c.differing())
		if !c.Has(Shimward) {
			shimward, missing = string(NotThere), ""
		}
		fmt.Fprintf(text, "| %s | %d | %d | %s | %s |\n", suite.Title, len(c.Rows), c.count(Runc), shimward, missing)
	}
	text.WriteString("\nThese numbers count a subtest as a test of its own. Below, subtests that both runtimes pass, or that the\nsuite skips, are counted in the row of the test that they belong to.\n")
	for _, c := range comparisons {
		c.write(text)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (c *Comparison) count(runtime Runtime) int {
	var passed int
	for _, row := range c.Rows {
		if row.outcome(runtime) == Passed {
			passed++
		}
	}
	return passed
}

func (c *Comparison) write(text *strings.Builder) {
	suite, err := Find(c.Suite)
	if err != nil {
		return // Page has found it
	}
	about := suite.About
	if !c.Has(Shimward) {
		about += " These were not run under `shimward runc`."
	}
	fmt.Fprintf(text, "\n## %s\n\n%s\n\n| test | runc | shimward |\n|---|---|---|\n", suite.Title, about)
	for i, row := range c.Rows {
		if parent := c.parent(i); parent >= 0 && c.settled(row) {
			continue // in its parent's row
		}
		name := "`" + strings.ReplaceAll(row.Test, "`", "'") + "`" + c.subtests(i)
		runc, shimward := row.cell(Runc), row.cell(Shimward)
		if runc == shimward && row.outcome(Runc) != Passed {
			shimward = string(row.outcome(Shimward)) // for the same reason
		}
		if why := knownDifferences[row.Test]; why != "" && row.outcome(Shimward) != Passed {
			shimward = string(row.outcome(Shimward)) + ": " + why
		}
		fmt.Fprintf(text, "| %s | %s | %s |\n", plain(name), runc, shimward)
	}
}

// differing counts the tests that runc passes and shimward, for a known reason, does not.
func (c *Comparison) differing() int {
	var n int
	for _, row := range c.Rows {
		if row.outcome(Runc) == Passed && row.outcome(Shimward) != Passed && knownDifferences[row.Test] != "" {
			n++
		}
	}
	return n
}

// parent is the row of the test that row i is a subtest of, or -1.
func (c *Comparison) parent(i int) int {
	top := c.top(c.Rows[i])
	if top == c.Rows[i].Test {
		return -1
	}
	return slices.IndexFunc(c.Rows[:i], func(r Row) bool { return r.Test == top })
}

// settled tells whether both runtimes passed a test at once, or skipped it.
func (c *Comparison) settled(row Row) bool {
	for _, runtime := range Runtimes() {
		if !c.Has(runtime) {
			continue
		}
		tries := row.Cells[runtime]
		if len(tries) == 0 || tries[0].Outcome != row.outcome(Runc) {
			return false
		}
	}
	return row.outcome(Runc) == Passed || row.outcome(Runc) == Skipped
}

// subtests says which of row i's subtests have no row of their own.
func (c *Comparison) subtests(i int) string {
	if c.parent(i) >= 0 {
		return ""
	}
	counts := map[Outcome]int{}
	for j, row := range c.Rows {
		if j > i && c.parent(j) == i && c.settled(row) {
			counts[row.outcome(Runc)]++
		}
	}
	var said []string
	for _, outcome := range []Outcome{Passed, Skipped} {
		if n := counts[outcome]; n > 0 {
			said = append(said, fmt.Sprintf("%d %s", n, map[Outcome]string{Passed: "passed", Skipped: "skipped"}[outcome]))
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ", subtests: " + strings.Join(said, ", ")
}

func (r Row) cell(runtime Runtime) string {
	tries := r.Cells[runtime]
	if len(tries) == 0 {
		return string(NotThere)
	}
	first, last := tries[0], tries[len(tries)-1]
	text := string(first.Outcome)
	if first.Outcome != last.Outcome {
		text += ", then alone " + string(last.Outcome)
	}
	for _, try := range slices.Backward(tries) {
		if try.Reason != "" {
			return text + ": " + plain(tidy(try.Reason))
		}
	}
	return text
}

// plain takes from a text what Markdown would take for markup of a table.
func plain(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "*", "\\*", "\n", " ").Replace(text)
}

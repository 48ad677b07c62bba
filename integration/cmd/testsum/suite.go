package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// suite is the result of a run. Subtests count like tests.
type suite struct {
	passed  int
	failed  []failure
	skipped []string // with what they printed
}

// failure is a test that failed, or a package that failed outside of any test, with the end of its
// output.
type failure struct {
	name string
	end  []string
}

// endLines is the number of lines of a failure that are repeated at the end, because CI may keep
// only the end of its output.
const endLines = 20

func newFailure(name string, output []string) failure {
	lines := strings.SplitAfter(strings.Join(output, ""), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	return failure{name, lines[max(0, len(lines)-endLines):]}
}

func (f failure) String() string {
	text := "FAILED: " + f.name + "\n"
	for _, line := range f.end {
		text += "    " + strings.TrimSuffix(line, "\n") + "\n"
	}
	return text
}

func (s *suite) add(other suite) {
	s.passed += other.passed
	s.failed = append(s.failed, other.failed...)
	s.skipped = append(s.skipped, other.skipped...)
}

func (s *suite) err(path string) error {
	name := strings.TrimSuffix(filepath.Base(path), ".json")
	switch {
	case len(s.failed) > 0:
		return fmt.Errorf("%s: %d failed", name, len(s.failed))
	case s.passed == 0:
		return fmt.Errorf("%s: no test ran", name)
	}
	return nil
}

// reader collects the output of each test until it ends.
type reader struct {
	suite  suite
	out    io.Writer
	output map[[2]string][]string
	broken map[string]bool // packages in which a test failed
	ended  map[string]bool // every package that appeared, and whether it ended
}

// read parses the output of a run, counts its tests, and prints its closing lines and failures.
func read(in io.Reader, out io.Writer) (suite, error) {
	r := reader{out: out, output: map[[2]string][]string{}, broken: map[string]bool{}, ended: map[string]bool{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			r.cutOff()
			return r.suite, nil
		}
		if err != nil {
			return r.suite, fmt.Errorf("read go test's output: %w", err)
		}
	}
}

func (r *reader) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		fmt.Fprintf(r.out, "%s", line) // not from go test but another tool's message
		return
	}
	if e.Package == "" {
		e.Package = e.ImportPath
	}
	key := [2]string{e.Package, e.Test}
	if _, known := r.ended[e.Package]; !known {
		r.ended[e.Package] = false
	}
	switch e.Action {
	case "output", "build-output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-fail":
		r.broken[e.Package], r.ended[e.Package] = true, true
		r.fail(key, e.Package+" (does not build)")
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(key, e)
		} else {
			r.endTest(key, e)
		}
	}
}

func (r *reader) endTest(key [2]string, e event) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "pass":
		r.suite.passed++
	case "skip":
		r.suite.skipped = append(r.suite.skipped, name+": "+reason(r.output[key]))
	case "fail":
		r.broken[e.Package] = true
		r.fail(key, name)
	}
	delete(r.output, key)
}

func (r *reader) endPackage(key [2]string, e event) {
	r.ended[e.Package] = true
	if e.Action == "fail" && !r.broken[e.Package] {
		// The failure is outside any test that ended: a panic, a timeout, or TestMain.
		said := r.unended(e.Package)
		for _, line := range r.output[key] {
			if !closing(line) {
				said = append(said, line)
			}
		}
		fmt.Fprint(r.out, strings.Join(said, ""))
		r.suite.failed = append(r.suite.failed, newFailure(e.Package, said))
	}
	for _, line := range r.output[key] {
		if closing(line) {
			fmt.Fprint(r.out, line)
		}
	}
	if e.Action == "pass" && !hasClosing(r.output[key]) { // test2json adds no closing line itself
		fmt.Fprintf(r.out, "ok  \t%s\t%.3fs\n", e.Package, e.Elapsed)
	}
	delete(r.output, key)
}

// unended returns the output of the package's tests that did not end.
func (r *reader) unended(name string) []string {
	var said []string
	for key, lines := range r.output {
		if key[0] == name && key[1] != "" {
			said = append(said, lines...)
		}
	}
	return said
}

// cutOff records a failure for each package whose end was never reported.
func (r *reader) cutOff() {
	for name, ended := range r.ended {
		if !ended {
			r.suite.failed = append(r.suite.failed, newFailure(name+" (cut off)", r.unended(name)))
		}
	}
	slices.SortFunc(r.suite.failed, func(a, b failure) int { return strings.Compare(a.name, b.name) })
}

func (r *reader) fail(key [2]string, name string) {
	r.suite.failed = append(r.suite.failed, newFailure(name, r.output[key]))
	fmt.Fprint(r.out, strings.Join(r.output[key], ""))
}

func closing(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

func hasClosing(lines []string) bool {
	for _, line := range lines {
		if closing(line) {
			return true
		}
	}
	return false
}

// reason returns what a skipped test printed, without go test's own lines.
func reason(lines []string) string {
	var said []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

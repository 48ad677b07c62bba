package peers

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Outcome is what a test came to.
type Outcome string

// The outcomes.
const (
	Passed   Outcome = "passes"
	Failed   Outcome = "fails"
	Skipped  Outcome = "skipped"
	Unended  Outcome = "does not end"
	NotThere Outcome = "not run"
)

// Result is a test's.
type Result struct {
	Test    string  `json:"test"` // subtests as Parent/child
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"` // of what did not pass, in the suite's words
}

// goResults reads what a test binary wrote under -test.v=test2json.
func goResults(dir string) ([]Result, error) {
	log, err := os.Open(filepath.Join(dir, suiteLog)) //nolint:gosec // a log of ours
	if err != nil {
		return nil, err
	}
	defer log.Close()                                  //nolint:errcheck // only read from
	convert := exec.Command("go", "tool", "test2json") //nolint:noctx // as long as the log
	convert.Stdin = log
	converted, err := convert.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool test2json: %w", err)
	}
	return readEvents(strings.NewReader(string(converted)))
}

func readEvents(in io.Reader) ([]Result, error) {
	said := map[string][]string{}
	outcomes := map[string]Outcome{}
	var order []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, err
		}
		if event.Test == "" {
			continue
		}
		switch event.Action {
		case "run":
			order = append(order, event.Test)
			outcomes[event.Test] = Unended
		case "output":
			said[event.Test] = append(said[event.Test], event.Output)
		case "pass":
			outcomes[event.Test] = Passed
		case "skip":
			outcomes[event.Test] = Skipped
		case "fail":
			outcomes[event.Test] = Failed
		}
	}
	var results []Result
	for _, test := range order {
		result := Result{Test: test, Outcome: outcomes[test]}
		if result.Outcome != Passed {
			result.Reason = reason(said[test])
		}
		results = append(results, result)
	}
	return results, lines.Err()
}

var (
	saying  = regexp.MustCompile(`^\s+[\w.-]+\.go:\d+: (.*)`)
	unstead = regexp.MustCompile(`\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b|\d{6,}`)
)

// reason is the line that says why a test did not pass: testify's Error, or what
// the test said last.
func reason(lines []string) string {
	var last string
	for i, line := range lines {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "Error:"); ok {
			parts := []string{text}
			for _, more := range lines[i+1:] {
				if field, _, ok := strings.Cut(strings.TrimSpace(more), ":"); ok && slices.Contains([]string{"Test", "Messages", "Error Trace"}, field) {
					break
				}
				parts = append(parts, more)
			}
			return tidy(strings.Join(parts, " "))
		}
		if found := saying.FindStringSubmatch(line); found != nil && strings.TrimSpace(found[1]) != "" {
			last = found[1]
		}
	}
	return tidy(last)
}

// tidy makes one line of it that is the same whenever the reason is.
func tidy(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = unstead.ReplaceAllString(text, "…")
	// What was tried is at the beginning, and why it failed at the end.
	if runes := []rune(text); len(runes) > 360 {
		text = string(runes[:160]) + " … " + string(runes[len(runes)-180:])
	}
	return text
}

// junitResults reads the JUnit reports of a ginkgo suite.
func junitResults(dir string) ([]Result, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "junit*.xml"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, errors.New("it wrote no JUnit report")
	}
	var results []Result
	for _, path := range paths {
		raw, err := os.ReadFile(path) //nolint:gosec // a report of ours
		if err != nil {
			return nil, err
		}
		found, err := readJUnit(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		results = append(results, found...)
	}
	return results, nil
}

func readJUnit(raw []byte) ([]Result, error) {
	type message struct {
		Text string `xml:"message,attr"`
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name    string   `xml:"name,attr"`
				Status  string   `xml:"status,attr"`
				Skipped *message `xml:"skipped"`
				Failure *message `xml:"failure"`
				Error   *message `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(raw, &report); err != nil {
		return nil, err
	}
	var results []Result
	for _, suite := range report.Suites {
		for _, test := range suite.Cases {
			name, isTest := strings.CutPrefix(test.Name, "[It] ")
			if !isTest {
				continue // the suite's own setting up
			}
			result := Result{Test: name, Outcome: Passed}
			for outcome, said := range map[Outcome]*message{Skipped: test.Skipped, Failed: test.Failure, Unended: test.Error} {
				if said != nil {
					result.Outcome, result.Reason = outcome, tidy(strings.TrimPrefix(said.Text, "skipped - "))
				}
			}
			results = append(results, result)
		}
	}
	return results, nil
}

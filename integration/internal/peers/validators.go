package peers

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ociRuntime is the command that the validators take for an OCI runtime.
func (r *room) ociRuntime() string { return filepath.Join(r.bin(), "oci-runtime") }

// writeOCIRuntime makes it of the column's runtime, over the same runc. The validators' specs have a
// seccomp profile of 2018, under which no runc of today starts anything: it is told
// of the system calls since, for either runtime.
func (r *room) writeOCIRuntime() error {
	command := filepath.Join(r.tools.Engines, "runc")
	if r.runtime == Shimward {
		config := filepath.Join(r.bin(), "shimward.toml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "version = 1\n[runc]\npath = %q\n", command), 0o600); err != nil {
			return err
		}
		command = filepath.Join(r.tools.Bin, "shimward") + " runc --shimward-config=" + config
	}
	modernize := filepath.Join(r.bin(), "modernize")
	if err := r.copy(r.tools.Standin, modernize); err != nil {
		return err
	}
	text := "#!/bin/sh\n" + modernize + " \"$@\" || exit\nexec " + command + " \"$@\"\n"
	return os.WriteFile(r.ociRuntime(), []byte(text), 0o755) //nolint:gosec // it is to be run
}

// hasCommandLine tells whether the runtime can be run as an OCI runtime is.
func (t Tools) hasCommandLine(runtime Runtime) bool {
	if runtime == Runc {
		return true
	}
	return exec.Command(filepath.Join(t.Bin, "shimward"), "runc", "--version").Run() == nil //nolint:gosec,noctx // ends at once
}

func validatorCommands(r *room, only []string) ([]command, error) {
	entries, err := os.ReadDir(filepath.Join(r.tools.Suites, "validators"))
	if err != nil {
		return nil, err
	}
	var commands []command
	for _, entry := range entries {
		name := entry.Name()
		if len(only) == 0 || slices.Contains(only, name) {
			commands = append(commands, command{
				log: name + ".tap", limit: 2 * time.Minute,
				args: []string{filepath.Join(r.tools.Suites, "validators", name)},
			})
		}
	}
	return commands, nil
}

func tapResults(dir string) ([]Result, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.tap"))
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, path := range paths {
		file, err := os.Open(path) //nolint:gosec // a log of ours
		if err != nil {
			return nil, err
		}
		found, err := readTAP(strings.TrimSuffix(filepath.Base(path), ".tap"), file)
		if err := file.Close(); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		results = append(results, found...)
	}
	return results, nil
}

var (
	// assertion is a line of the Test Anything Protocol, version 13.
	assertion = regexp.MustCompile(`^(not )?ok \d+(?: - | )?(.*?)(?:\s*# (?i:(skip|todo))\b(.*))?$`)
	// complaint is of the assertion before.
	complaint = regexp.MustCompile(`^"?error"?: ['"]?(.+?)['"]?,?$`)
	// logged is what an OCI runtime says of an error.
	logged = regexp.MustCompile(`level=error msg="(.*)"$`)
)

// readTAP makes a test of a validator, and a subtest of each of its assertions.
func readTAP(name string, in io.Reader) ([]Result, error) {
	whole := Result{Test: name, Outcome: Passed}
	var parts []Result
	var said string
	seen := map[string]int{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if found := assertion.FindStringSubmatch(line); found != nil {
			part := Result{Test: name + "/" + tidy(found[2]), Outcome: Passed}
			if seen[part.Test]++; seen[part.Test] > 1 {
				part.Test += fmt.Sprintf(" (%d)", seen[part.Test])
			}
			switch {
			case found[3] != "":
				part.Outcome, part.Reason = Skipped, tidy(found[4])
			case found[1] != "":
				part.Outcome, whole.Outcome = Failed, Failed
			}
			parts = append(parts, part)
			continue
		}
		if text, ok := strings.CutPrefix(line, ended); ok {
			whole.Outcome, whole.Reason = Failed, tidy(said)
			if strings.HasPrefix(text, "signal") {
				whole.Outcome = Unended
			}
			continue
		}
		if found := complaint.FindStringSubmatch(line); found != nil && len(parts) > 0 && parts[len(parts)-1].Outcome == Failed {
			parts[len(parts)-1].Reason = tidy(found[1])
		}
		if found := logged.FindStringSubmatch(line); found != nil {
			said = found[1] // rather than what the validator makes of it
		} else if line != "" && !strings.HasPrefix(line, "exit status ") {
			said = line
		}
	}
	skips := func(r Result) bool { return r.Outcome == Skipped }
	if len(parts) > 0 && whole.Outcome == Passed && !slices.ContainsFunc(parts, func(r Result) bool { return !skips(r) }) {
		whole.Outcome, whole.Reason = Skipped, parts[0].Reason
	}
	if len(parts) == 0 && whole.Outcome == Passed {
		whole.Reason = "it ended well, and asserted nothing"
	}
	return append([]Result{whole}, parts...), lines.Err()
}

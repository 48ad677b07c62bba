package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/integration/internal/peers"
)

func (o options) run(ctx context.Context) error {
	for _, path := range []*string{&o.tools.Engines, &o.tools.Bin, &o.tools.Suites, &o.tools.Standin, &o.results} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if err := os.MkdirAll(o.results, 0o755); err != nil { //nolint:gosec // results are for everybody
		return err
	}
	var failed []error
	suites := peers.Suites()
	if o.suite != "" {
		suite, err := peers.Find(o.suite)
		if err != nil {
			return err
		}
		suites = []peers.Suite{suite}
	}
	if o.rewrite {
		suites = nil
	}
	for _, suite := range suites {
		if err := o.compare(ctx, suite); err != nil {
			failed = append(failed, err)
		}
	}
	if o.page != "" && o.only == "" {
		failed = append(failed, o.write())
	}
	return errors.Join(failed...)
}

// compare runs a suite under both runtimes, runs doubtful tests a second time, and stores the
// results. It returns an error if shimward fails a test that runc passes.
func (o options) compare(ctx context.Context, suite peers.Suite) error {
	c := peers.Comparison{Suite: suite.Name}
	var only []string
	if o.again {
		if err := o.load(&c); err != nil {
			return err
		}
		if only = c.Unsettled(); len(only) == 0 {
			return nil
		}
	} else if o.only != "" {
		only = []string{o.only}
	}
	first, err := o.both(ctx, suite, only, "first")
	if err != nil {
		return err
	}
	c.Forget(only)
	c.Add(first, only...)
	if doubtful := c.Doubtful(); len(doubtful) > 0 && o.only == "" {
		fmt.Fprintf(os.Stderr, "%s: once more: %s\n", suite.Name, strings.Join(doubtful, ", "))
		second, err := o.both(ctx, suite, doubtful, "second")
		if err != nil {
			return err
		}
		c.Add(second, doubtful...)
	}
	if o.only == "" {
		text, err := json.MarshalIndent(c, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.kept(suite.Name), text, 0o644); err != nil { //nolint:gosec // results are for everybody
			return err
		}
	}
	if names := c.Regressions(); len(names) > 0 {
		return fmt.Errorf("%s: runc passes and shimward does not: %s (logs are in %s)", suite.Title, strings.Join(names, ", "), o.results)
	}
	return nil
}

// both runs a suite under both runtimes. The first try runs them concurrently, because a suite
// mostly waits; the second try, of the doubtful tests, runs them one after the other.
func (o options) both(ctx context.Context, suite peers.Suite, only []string, try string) (map[peers.Runtime][]peers.Result, error) {
	results := map[peers.Runtime][]peers.Result{}
	var (
		mu   sync.Mutex // guards results
		wait errgroup.Group
	)
	if try != "first" {
		wait.SetLimit(1)
	}
	for _, runtime := range peers.Runtimes() {
		if !suite.CanRun(o.tools, runtime) {
			fmt.Fprintf(os.Stderr, "%s: left out under %s, which has no command line of an OCI runtime\n", suite.Name, runtime)
			continue
		}
		wait.Go(func() error {
			fmt.Fprintf(os.Stderr, "%s: under %s\n", suite.Name, runtime)
			found, err := o.once(ctx, suite.Name, runtime, only, fmt.Sprintf("%s-%s-%s", suite.Name, runtime, try))
			mu.Lock()
			defer mu.Unlock()
			results[runtime] = found
			return err
		})
	}
	return results, wait.Wait()
}

func (o options) kept(suite string) string { return filepath.Join(o.results, suite+".json") }

// load reads the stored results of c's suite.
func (o options) load(c *peers.Comparison) error {
	raw, err := os.ReadFile(o.kept(c.Suite))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, c)
}

// write generates the page from the stored results.
func (o options) write() error {
	var comparisons []peers.Comparison
	for _, suite := range peers.Suites() {
		c := peers.Comparison{Suite: suite.Name}
		err := o.load(&c)
		if errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "%s has no results in %s and is left out of the page\n", suite.Name, o.results)
			continue
		}
		if err != nil {
			return err
		}
		comparisons = append(comparisons, c)
	}
	facts, err := o.facts()
	if err != nil {
		return err
	}
	var page strings.Builder
	if err := peers.Page(&page, facts, comparisons); err != nil {
		return err
	}
	return os.WriteFile(o.page, []byte(page.String()), 0o644) //nolint:gosec // a page for everybody
}

func (o options) facts() (peers.Facts, error) {
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return peers.Facts{}, err
	}
	raw, err := os.ReadFile(filepath.Join(o.tools.Suites, "versions.json"))
	if err != nil {
		return peers.Facts{}, err
	}
	facts := peers.Facts{Tier: node.Tier().String(), Versions: map[string]string{}}
	// Only the series: the rest of the release is specific to a machine.
	series := strings.SplitN(unix.ByteSliceToString(kernel.Release[:]), ".", 3)
	facts.Kernel = strings.Join(series[:min(2, len(series))], ".")
	if err := json.Unmarshal(raw, &facts.Versions); err != nil {
		return peers.Facts{}, err
	}
	out, err := exec.Command(filepath.Join(o.tools.Engines, "runc"), "--version").Output() //nolint:gosec,noctx // ends at once
	if err != nil {
		return peers.Facts{}, err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	facts.Versions["runc"] = strings.TrimPrefix(first, "runc version ")
	return facts, nil
}

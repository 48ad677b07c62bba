// Package peers runs the test suites of shimward's peers (containerd's, Kubernetes'
// and the OCI's own) against stock runc and against shimward on the same machine,
// and tells test by test what each came to. The suites are built as their authors
// publish them; what they reach for outside is provided in a room of their own: a
// registry with images made of busybox, a network, a /run, a cgroup.
package peers

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Runtime is a column of the page.
type Runtime string

// The two that are compared.
const (
	Runc     Runtime = "runc"
	Shimward Runtime = "shimward"
)

// Runtimes are the columns in their order.
func Runtimes() []Runtime { return []Runtime{Runc, Shimward} }

// Type is what containerd calls the runtime.
func (r Runtime) Type() string {
	if r == Shimward {
		return "io.containerd.shimward.v1"
	}
	return "io.containerd.runc.v2"
}

// Tools are what the suites run: folders, and a file.
type Tools struct {
	Engines string // containerd, ctr, its runc shim, and runc
	Bin     string // shimward's binaries
	Suites  string // of scripts/build-peers
	Standin string // the standin command
}

// Suite is one peer's test suite.
type Suite struct {
	Name  string
	Title string
	About string
	// Limit is how long one run may take. It is generous: a suite that hangs is to end, not a slow machine.
	Limit time.Duration
	// containerd says whether the suite expects a running one.
	containerd bool
	// commands are the suite's, one after the other, for the tests that are named, or all.
	commands func(r *room, only []string) ([]command, error)
	// results reads what it came to from the folder that it reported to.
	results func(dir string) ([]Result, error)
}

// command is one that a suite consists of.
type command struct {
	log   string // in the reports
	limit time.Duration
	args  []string // the program's absolute path first
}

// Suites are all of them, in the page's order.
func Suites() []Suite {
	return []Suite{
		{
			Name: "client", Title: "containerd's client integration suite",
			About: "`integration/client` of containerd, with `TEST_RUNTIME`.",
			Limit: 25 * time.Minute, commands: clientCommands, results: goResults,
		},
		{
			Name: "cri", Title: "containerd's CRI integration suite",
			About: "`integration` of containerd, with the column's runtime as the default one. " +
				"The tests that plant a failing part (`runc-fp`) bring a shim of their own in both columns.",
			Limit: 40 * time.Minute, containerd: true, commands: criCommands, results: goResults,
		},
		{
			Name: "critest", Title: "critest",
			About: "Kubernetes' conformance tests of a container runtime, with the column's runtime as the default one.",
			Limit: 30 * time.Minute, containerd: true, commands: critestCommands, results: junitResults,
		},
		{
			Name: "validators", Title: "The validators of runtime-tools",
			About: "opencontainers/runtime-tools' `validation`, which tests the command line of an OCI runtime: `runc` and `shimward runc`. " +
				"A validator is a test, and its assertions are its subtests. The validators' specs have a seccomp profile of 2018, under which " +
				"no runc of today starts anything. In both columns, that profile also allows system calls that came later.",
			Limit: 30 * time.Minute, commands: validatorCommands, results: tapResults,
		},
	}
}

// CanRun tells whether the suite can be run under the runtime.
func (s Suite) CanRun(tools Tools, runtime Runtime) bool {
	return s.Name != "validators" || tools.hasCommandLine(runtime)
}

// Find is the suite of a name.
func Find(name string) (Suite, error) {
	suites := Suites()
	at := slices.IndexFunc(suites, func(s Suite) bool { return s.Name == name })
	if at < 0 {
		return Suite{}, fmt.Errorf("there is no suite %q: say client, cri, critest or validators", name)
	}
	return suites[at], nil
}

func clientCommands(r *room, only []string) ([]command, error) {
	// As containerd's Makefile has it, but that criu, which a kernel has to suit, is asked for by nobody: the page says so.
	return r.one(append([]string{
		filepath.Join(r.tools.Suites, "client.test"), "-test.v=test2json", "-test.root", "-test.parallel=4",
		"-no-criu", "-image-list=" + r.imageList(), "-test.timeout=" + r.limit.String(),
	}, goOnly(only)...))
}

func criCommands(r *room, only []string) ([]command, error) {
	return r.one(append([]string{
		filepath.Join(r.tools.Suites, "cri.test"), "-test.v=test2json", "-cri-endpoint=unix://" + socket,
		"-containerd-bin=" + r.containerd(), "-build-dir=" + r.bin(),
		"-image-list=" + r.imageList(), "-test.timeout=" + r.limit.String(),
	}, goOnly(only)...))
}

func critestCommands(r *room, only []string) ([]command, error) {
	args := []string{
		filepath.Join(r.tools.Suites, "critest"), "-runtime-endpoint=unix://" + socket,
		"-ginkgo.no-color", "-ginkgo.v", "-ginkgo.junit-report=" + filepath.Join(r.reports(), "junit.xml"), "-ginkgo.timeout=" + r.limit.String(),
	}
	for _, name := range only {
		// What is in brackets at its end may be labels, which are not what is looked in.
		text, _, _ := strings.Cut(name, " [Conformance]")
		args = append(args, "-ginkgo.focus="+regexp.QuoteMeta(text))
	}
	return r.one(args)
}

func (r *room) one(args []string) ([]command, error) {
	return []command{{log: suiteLog, limit: r.limit + time.Minute, args: args}}, nil
}

// suiteLog is where a suite of one command writes.
const suiteLog = "suite.log"

func goOnly(only []string) []string {
	if len(only) == 0 {
		return nil
	}
	var names []string
	for _, name := range only {
		names = append(names, regexp.QuoteMeta(name))
	}
	return []string{"-test.run=^(" + strings.Join(names, "|") + ")$"}
}

// Command peers runs the test suites of shimward's peers under stock runc and under shimward, and
// generates docs/peers.md from the results.
//
// scripts/peers builds what it needs and starts it. It exits 1 if shimward fails a test that runc
// passes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/integration/internal/peers"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if inside, err := peers.Inside(ctx, args, inRoom); inside {
		return err
	}
	var o options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.StringVar(&o.tools.Engines, "engines", "", "folder of scripts/build-tools engines")
	flags.StringVar(&o.tools.Bin, "bin", "", "folder of shimward's binaries")
	flags.StringVar(&o.tools.Suites, "suites", "", "folder of scripts/build-peers")
	flags.StringVar(&o.tools.Standin, "standin", "", "the standin command")
	flags.StringVar(&o.results, "results", "build/peers", "folder for results and logs")
	flags.StringVar(&o.suite, "suite", "", "the one suite to run")
	flags.StringVar(&o.only, "only", "", "the one test to run, for a try: its result is not kept")
	flags.StringVar(&o.page, "page", "", "the page to write")
	flags.BoolVar(&o.again, "again", false, "run afresh only what did not pass at once in earlier runs: after a repair")
	flags.BoolVar(&o.rewrite, "rewrite", false, "run nothing, and write the page of what earlier runs left in the results")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return o.run(ctx)
}

// inRoom performs one run of one suite, inside a room.
func inRoom(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("a room takes one request")
	}
	var request peers.Request
	if err := json.Unmarshal([]byte(args[0]), &request); err != nil {
		return err
	}
	return peers.Run(ctx, request)
}

type options struct {
	tools                      peers.Tools
	results, suite, only, page string
	again, rewrite             bool
}

// once runs a suite in its own room and reads its results.
func (o options) once(ctx context.Context, suite string, runtime peers.Runtime, only []string, keep string) (_ []peers.Result, err error) {
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the root user of a user namespace has to traverse it
		return nil, err
	}
	request := peers.Request{Suite: suite, Runtime: runtime, Only: only, Tools: o.tools, Dir: dir}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if err := peers.Enter(ctx, dir, string(text)); err != nil {
		return nil, fmt.Errorf("run %s under %s: %w", suite, runtime, err)
	}
	return peers.Read(request, filepath.Join(o.results, keep))
}

// Command demo attacks a container from another container that shares its pid namespace: under
// stock runc, under shimward's audit mode, and under its enforce mode. It prints the outcome of
// each attempt and what shimward reports about it. It fails unless shimward kept all its promises
// for this kernel.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/integration/internal/node"
)

// patience is the time limit of the whole run. It is long because emulated CPUs are slow.
const patience = 10 * time.Minute

func main() {
	if err := run(os.Stdout, os.Getenv("SHIMWARD_ENGINES"), os.Getenv("SHIMWARD_BIN")); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, engines, bin string) (err error) {
	if engines == "" || bin == "" {
		return errors.New("run this through `make demo`: it says where containerd and shimward's binaries are")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	n, err := node.Start(ctx, node.Options{Engines: engines, Bin: bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Stop(context.WithoutCancel(ctx))) }()

	if err := introduce(ctx, out, n); err != nil {
		return err
	}
	var rounds []round
	for _, set := range settings() {
		fmt.Fprintf(out, "… attacking under %s\n", set.title)
		r, err := attack(ctx, n, bin, set)
		if err != nil {
			return fmt.Errorf("under %s: %w", set.title, err)
		}
		rounds = append(rounds, r)
	}
	if err := show(out, rounds); err != nil {
		return err
	}
	if broken := promises(rounds); len(broken) > 0 {
		return errors.Join(broken...)
	}
	fmt.Fprint(out, next)
	return nil
}

const next = `
Everything that shimward promises on this kernel held.

What to type next:
  bin/shimward install             the binaries, into /usr/local, and the runtime into containerd's config
  shimward doctor                  what this node can do, and what to do about the rest
  ctr run --runtime io.containerd.shimward.v1 --annotation shimward.dev/mode=enforce IMAGE NAME
  shimward events -f               who reached for whose memory
`

// Command bench measures what shimward costs, next to stock runc in the same run: each round
// measures every arrangement once, in an order that rotates, and a ratio is always of two
// measurements of the same round. It prints tables, writes them as JSON, and asserts nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/integration/internal/node"
)

// arguments are the parsed command-line arguments.
type arguments struct {
	engines, bin, micro string
	json, page, only    string
	rounds, crowdOf     int
}

func main() {
	if err := run(os.Stdout, os.Stderr, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(out, progress io.Writer, args []string) (err error) {
	a, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	n, err := node.Start(ctx, node.Options{Engines: a.engines, Bin: a.bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Stop(context.WithoutCancel(ctx))) }()

	b := &bench{node: n, arguments: a, progress: progress}
	where, err := b.machine(ctx)
	if err != nil {
		return err
	}
	var results []table
	for _, one := range []struct {
		name    string
		measure func(context.Context) ([]table, error)
	}{
		{"lifecycle", single(b.lifecycle)},
		{"memory", single(b.memory)},
		{"inside", single(b.inside)},
		{"access", b.access},
		{"latency", single(b.latency)},
		{"pods", b.pods},
	} {
		if a.only != "" && a.only != one.name {
			continue
		}
		measured, err := one.measure(ctx)
		if err != nil {
			return err
		}
		for _, result := range measured {
			if err := result.print(out); err != nil {
				return err
			}
		}
		results = append(results, measured...)
		// Write after each measurement, because a later one may fail after a quarter of an hour.
		if err := writeJSON(a.json, results); err != nil {
			return err
		}
	}
	if a.page == "" {
		return nil
	}
	return writePage(a.page, where, a.rounds, results)
}

// single adapts a measurement that returns one table.
func single(measure func(context.Context) (table, error)) func(context.Context) ([]table, error) {
	return func(ctx context.Context) ([]table, error) {
		one, err := measure(ctx)
		return []table{one}, err
	}
}

func parse(args []string) (arguments, error) {
	var a arguments
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&a.engines, "engines", "", "the `folder` with containerd and runc")
	flags.StringVar(&a.bin, "bin", "", "the `folder` with shimward's binaries")
	flags.StringVar(&a.micro, "micro", "", "the `program` that is timed inside containers")
	flags.StringVar(&a.json, "json", "bench.json", "the `file` for the results")
	flags.StringVar(&a.page, "page", "", "the `file` for the results as a page, of a whole run")
	flags.StringVar(&a.only, "only", "", "one `table` of lifecycle, memory, inside, access, latency and pods")
	flags.IntVar(&a.rounds, "rounds", 15, "how often each arrangement is measured; the time to an event, of a hundred times as many")
	flags.IntVar(&a.crowdOf, "pods", 100, "how many pods are made at once")
	if err := flags.Parse(args[1:]); err != nil {
		return a, err
	}
	if !slices.Contains([]string{"", "lifecycle", "memory", "inside", "access", "latency", "pods"}, a.only) {
		return a, fmt.Errorf("-only %s: there is no such table: use lifecycle, memory, inside, access, latency or pods", a.only)
	}
	if a.page != "" && a.only != "" {
		return a, errors.New("-page: the page has all tables, leave -only out")
	}
	if a.engines == "" || a.bin == "" || a.micro == "" || a.rounds < 1 || a.crowdOf < 1 {
		return a, errors.New("run this through `make bench`: it says where everything is")
	}
	return a, nil
}

// bench is a node on which to measure.
type bench struct {
	arguments
	node     *node.Node
	progress io.Writer
}

func (b *bench) round(what string, i int) {
	fmt.Fprintf(b.progress, "%s, round %d of %d\n", what, i+1, b.rounds)
}

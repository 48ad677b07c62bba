package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

const psAbout = `Lists the containers that run under shimward, with the number of accesses for each
verdict. The kernel counts them, and the numbers are exact even if events were
dropped or folded. An access that several sensors saw is counted by each of them:
for each vector, the table shows the number of the sensor that saw most; --counters
and --json show all numbers.

GUARD is armed once the container's init has executed the user's program, waiting
before that, and gone if the kernel has nothing for the container (any more).

Exit status: 0: success; 2: an error.`

func psCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "ps",
		Usage:       "list the guarded containers",
		Description: psAbout,
		Flags: []cli.Flag{
			configFlag(env),
			&cli.BoolFlag{Name: "counters", Usage: "write one line for each vector, verdict and sensor of each container"},
			&cli.BoolFlag{Name: "json", Usage: "write a JSON array"},
		},
		Action: func(_ context.Context, command *cli.Command) error { return runPs(env, command) },
	}
}

func runPs(env environment, command *cli.Command) (err error) {
	if err := noArguments(command); err != nil {
		return err
	}
	config, _, err := nodeconfig.Load(command.String("config"))
	if err != nil {
		return err
	}
	kernel, closer, err := openKernel(config.Paths)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer()) }()
	containers, err := guarded.List(config.Paths, kernel)
	if err != nil {
		return err
	}
	switch {
	case command.Bool("json"):
		if containers == nil {
			containers = []guarded.Container{}
		}
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(containers)
	case command.Bool("counters"):
		return writeCounters(env.stdout, containers)
	default:
		return writeContainers(env.stdout, containers)
	}
}

// openKernel opens the pinned objects. If nothing has been loaded since the boot, it returns a nil
// Kernel and no error.
func openKernel(paths policy.Paths) (guarded.Kernel, func() error, error) {
	node, err := bpf.Open(bpf.NodeOptions{Paths: paths})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open shimward's objects in the kernel: %w", err)
	}
	return kernel{node}, node.Close, nil
}

func writeContainers(out io.Writer, containers []guarded.Container) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CONTAINER\tPOD\tNAME\tMODE\tPROFILE\tTIER\tGUARD\tOBSERVED\tREFUSED\tKILLED")
	for i := range containers {
		c := &containers[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n",
			shortID(c.ID), orDash(pod(c)), orDash(c.Name), c.Mode, c.Profile, orDash(c.Tier.String()), c.State,
			c.Total(access.VerdictObserved), c.Total(access.VerdictRefused), c.Total(access.VerdictKilled))
	}
	return table.Flush()
}

func writeCounters(out io.Writer, containers []guarded.Container) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CONTAINER\tPOD\tNAME\tVECTOR\tVERDICT\tSENSOR\tCOUNT")
	for i := range containers {
		c := &containers[i]
		for _, count := range c.Counts {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n",
				shortID(c.ID), orDash(pod(c)), orDash(c.Name), count.Vector, count.Verdict, count.Sensor, count.Count)
		}
	}
	return table.Flush()
}

func pod(c *guarded.Container) string {
	if c.Pod == "" {
		return ""
	}
	return c.PodNamespace + "/" + c.Pod
}

// shortID shortens an ID to what people compare: containerd's own IDs have 64 digits.
func shortID(id string) string {
	if len(id) == 64 {
		return id[:12]
	}
	return id
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

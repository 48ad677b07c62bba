package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/internal/emulate"
)

func floodCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "flood",
		Usage: "try to read a victim's secret many times, with process_vm_readv(2)",
		Description: "Shows how a workload that keeps attacking affects its node. Writes how many attempts\n" +
			"were refused as one line of JSON; \"shimward ps --counters\" must show the same number.\n" +
			"Exit status: 0: all were refused; 1: at least one got through; 2: an error.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "victim", HideDefault: true, Usage: "the victim's `PID`, in this pid namespace (default: the first victim found)"},
			&cli.IntFlag{Name: "attempts", Value: 1_000_000, Usage: "`NUMBER` of attempts"},
			&cli.IntFlag{Name: "threads", Value: 4, Usage: "`NUMBER` of threads that attack at once"},
		},
		Action: func(_ context.Context, command *cli.Command) error { return runFlood(env, command) },
	}
}

func runFlood(env environment, command *cli.Command) error {
	if err := noArguments(command); err != nil {
		return err
	}
	attempts, threads := command.Int("attempts"), command.Int("threads")
	if attempts < 1 || threads < 1 || threads > 1024 {
		return fmt.Errorf("--attempts is %d and --threads %d: write at least 1 of each, and no more than 1024 threads", attempts, threads)
	}
	find := emulate.Find
	if pid := command.Int("victim"); pid != 0 {
		find = func() (emulate.Victim, error) { return emulate.Describe(pid) }
	}
	victim, err := find()
	if err != nil {
		return err
	}
	sum, err := emulate.Flood(&victim, attempts, threads)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(env.stdout).Encode(sum); err != nil {
		return err
	}
	if sum.Through > 0 {
		return status(statusNo)
	}
	return nil
}

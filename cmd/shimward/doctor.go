package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/internal/doctor"
)

const doctorAbout = `Checks whether this node can keep what its config promises: which tier its kernel
has and why, and whether everything that shimward needs is present. Each line is ok,
warn (less protection than possible, but no promise is broken) or fail, with advice.

It changes nothing. It briefly loads and attaches shimward's programs, to see whether
the kernel accepts them, and asks the containerd and runc on PATH for their versions.

Exit status: 0: every promise can be kept; 1: one cannot; 2: an error.`

func doctorCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "check whether this node can keep what its config promises",
		Description: doctorAbout,
		Flags: []cli.Flag{
			configFlag(env),
			&cli.BoolFlag{Name: "json", Usage: "write one JSON object"},
		},
		Action: func(ctx context.Context, command *cli.Command) error { return runDoctor(ctx, env, command) },
	}
}

func runDoctor(ctx context.Context, env environment, command *cli.Command) error {
	if err := noArguments(command); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	report := doctor.Diagnose(doctor.Gather(ctx, doctor.Options{
		Config: command.String("config"), Path: env.getenv("PATH"), Beside: filepath.Dir(self),
	}))
	write := report.WriteText
	if command.Bool("json") {
		write = report.WriteJSON
	}
	if err := write(env.stdout); err != nil {
		return err
	}
	if !report.Kept {
		return status(statusNo)
	}
	return nil
}

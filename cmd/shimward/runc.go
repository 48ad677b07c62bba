package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/ociruntime"
)

// runcCommand exists only for its help: its arguments are runc's, and are parsed before any of
// shimward's.
func runcCommand() *cli.Command {
	return &cli.Command{
		Name:      "runc",
		Usage:     "an OCI runtime that has containers guarded, and then becomes runc",
		ArgsUsage: "RUNC'S ARGUMENTS",
		Description: "For engines that start an OCI runtime and no shim. A link to this binary with the\n" +
			"name " + ociruntime.Name + " does the same. --shimward-config=PATH, the node's config,\n" +
			"may precede runc's own arguments. Exit status: 1 if shimward refused; otherwise\n" +
			"runc's.",
		SkipFlagParsing: true,
		Action:          func(_ context.Context, command *cli.Command) error { return cli.ShowSubcommandHelp(command) },
	}
}

func monitorCommand(env environment) *cli.Command {
	return &cli.Command{
		Name: ociruntime.MonitorCommand, Usage: "host a container that \"shimward runc\" creates (which starts this command)",
		Hidden: true,
		Action: func(ctx context.Context, _ *cli.Command) error {
			ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
			defer stop()
			return ociruntime.Monitor(ctx, env.stdin, env.stdout)
		},
	}
}

// runtimeArgs returns the arguments of an OCI runtime, if the process was called as one.
func runtimeArgs(args []string) ([]string, bool) {
	switch {
	case len(args) > 0 && filepath.Base(args[0]) == ociruntime.Name:
		return args[1:], true
	case len(args) < 2 || args[1] != "runc":
		return nil, false
	case len(args) == 3 && (args[2] == "--help" || args[2] == "-h"):
		return nil, false // shimward's own help
	default:
		return args[2:], true
	}
}

func runRuntime(ctx context.Context, env environment, args []string) error {
	err := ociruntime.Run(ctx, ociruntime.Invocation{
		Args: args, Environ: os.Environ(), Getenv: env.getenv, Stderr: env.stderr,
	})
	if err == nil {
		return errors.New("runc was not started")
	}
	return status(statusNo)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"
)

// environment is everything that a run takes from its process.
type environment struct {
	args   []string
	stdin  *os.File
	stdout io.Writer
	stderr *os.File
	getenv func(string) string
}

// status is an error that carries only an exit status: everything else has already been reported.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// The exit statuses of all commands.
const (
	statusNo    = 1 // the answer to the command's question is "no"; each command's help says which question
	statusError = 2 // the question could not be answered
)

// exitStatus converts the error of run to an exit status, and prints it.
func exitStatus(stderr io.Writer, err error) int {
	var plain status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &plain):
		return int(plain)
	default:
		_, _ = fmt.Fprintln(stderr, "shimward:", err)
		return statusError
	}
}

func run(ctx context.Context, env environment) error {
	if args, ok := runtimeArgs(env.args); ok {
		return runRuntime(ctx, env, args)
	}
	return command(env).Run(ctx, env.args)
}

func command(env environment) *cli.Command {
	return &cli.Command{
		Name:      "shimward",
		Usage:     "detect and refuse access to other processes' memory from inside containers",
		Reader:    env.stdin,
		Writer:    env.stdout,
		ErrWriter: env.stderr,
		// Only main exits, and errors are printed there.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		OnUsageError:   usageError,
		Action:         noSuchCommand,
		Commands: []*cli.Command{
			doctorCommand(env), eventsCommand(env), psCommand(env), explainCommand(env), allowCommand(env), emulateCommand(env),
			installCommand(env), uninstallCommand(env), verifyCommand(env), nodeCommand(env), versionCommand(env), hookCommand(env),
			runcCommand(), monitorCommand(env),
		},
	}
}

func usageError(_ context.Context, command *cli.Command, err error, _ bool) error {
	return fmt.Errorf("%w (see \"%s --help\")", err, command.FullName())
}

// noSuchCommand is the action of a command that only has subcommands.
func noSuchCommand(_ context.Context, command *cli.Command) error {
	if name := command.Args().First(); name != "" {
		return fmt.Errorf("no command is called %q (see \"%s --help\")", name, command.FullName())
	}
	return cli.ShowSubcommandHelp(command)
}

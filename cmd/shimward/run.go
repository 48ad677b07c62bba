package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"
)

// environment is everything that a run takes from the process that it is in.
type environment struct {
	args   []string
	stdin  *os.File
	stdout io.Writer
	stderr *os.File
	getenv func(string) string
}

// status is an error that says nothing more than what the exit status is: what
// there was to say has been said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// The exit statuses, of every command.
const (
	statusNo    = 1 // the command's question has been answered with "no"; each command's help says which
	statusError = 2 // it could not be answered
)

// exitStatus turns what run returned into an exit status, and says the error.
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
		Usage:     "watches over, and refuses, access to other processes' memory from inside containers",
		Reader:    env.stdin,
		Writer:    env.stdout,
		ErrWriter: env.stderr,
		// The one exit is in main; an error is said there.
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

// noSuchCommand is the action of a command that has commands below it only.
func noSuchCommand(_ context.Context, command *cli.Command) error {
	if name := command.Args().First(); name != "" {
		return fmt.Errorf("no command is called %q (see \"%s --help\")", name, command.FullName())
	}
	return cli.ShowSubcommandHelp(command)
}

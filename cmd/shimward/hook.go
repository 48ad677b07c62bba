package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/hooks"
)

func hookCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "hook",
		Usage: "what the container runtime calls",
		Description: "The shim writes these hooks into a guarded container's config.json. The container\n" +
			"runtime starts them, as shimward-hook, with the container's state on standard input. Exit status: 0; 2 of\n" +
			"create-runtime: the container is not under guard, and the runtime does not start it.",
		Action: noSuchCommand,
		Commands: []*cli.Command{
			{
				Name: hooks.NameCreateRuntime, Usage: "put a container under guard, before it runs anything",
				Action: func(ctx context.Context, _ *cli.Command) error {
					return hooks.Run(ctx, hooks.NameCreateRuntime, env.stdin, env.getenv(hooks.EnvRun), env.stderr)
				},
			},
			{
				Name: hooks.NamePoststop, Usage: "let go of what a container has in the kernel; never fails",
				Action: func(ctx context.Context, _ *cli.Command) error {
					return hooks.Run(ctx, hooks.NamePoststop, env.stdin, env.getenv(hooks.EnvRun), env.stderr)
				},
			},
		},
	}
}

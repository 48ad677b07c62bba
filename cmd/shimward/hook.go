package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/hooks"
)

func hookCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "hook",
		Usage: "hooks that the container runtime calls",
		Description: "The shim writes these hooks into a guarded container's config.json. The container\n" +
			"runtime starts them, as shimward-hook, with the container's state on standard input.\n" +
			"Exit status: 0; create-runtime exits with 2 if the container is not under guard, and\n" +
			"the runtime then does not start it.",
		Action: noSuchCommand,
		Commands: []*cli.Command{
			{
				Name: hooks.NameCreateRuntime, Usage: "put a container under guard, before it runs anything",
				Action: func(ctx context.Context, _ *cli.Command) error {
					return hooks.Run(ctx, hooks.NameCreateRuntime, env.stdin, env.getenv(hooks.EnvRun), env.stderr)
				},
			},
			{
				Name: hooks.NamePoststop, Usage: "release a container's objects in the kernel; never fails",
				Action: func(ctx context.Context, _ *cli.Command) error {
					return hooks.Run(ctx, hooks.NamePoststop, env.stdin, env.getenv(hooks.EnvRun), env.stderr)
				},
			},
		},
	}
}

package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/relay"
)

func hookCommand(env environment) *cli.Command {
	hook := func(name string) cli.ActionFunc {
		return func(ctx context.Context, _ *cli.Command) error {
			run := env.getenv(hooks.EnvRun)
			one := relay.Hook{
				Name: name, Getenv: env.getenv, Stdin: env.stdin, Log: env.stderr,
				Alone: func(state []byte) error { return container.ReleaseBereft(ctx, state, run) },
			}
			return one.Run()
		}
	}
	return &cli.Command{
		Name:  "hook",
		Usage: "hooks that the container runtime calls",
		Description: "The shim writes these hooks into a guarded container's config.json. The container\n" +
			"runtime starts them, as shimward-hook, with the container's state on standard input.\n" +
			"They tell the container's shim or monitor. If that is gone, no container is created,\n" +
			"and shimward-hook starts \"shimward hook poststop\", which does what is left to do.\n" +
			"Exit status: 0; create-runtime exits with 2 if the container is not under guard, and\n" +
			"the runtime then does not start it.",
		Action: noSuchCommand,
		Commands: []*cli.Command{
			{
				Name: relay.NameCreateRuntime, Usage: "have a container put under guard, before it runs anything",
				Action: hook(relay.NameCreateRuntime),
			},
			{
				Name: relay.NamePoststop, Usage: "have a container's objects in the kernel released; never fails",
				Action: hook(relay.NamePoststop),
			},
		},
	}
}

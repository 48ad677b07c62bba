package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/installer"
)

const nodeAbout = `For the pods of deploy/, which are privileged, in the node's pid namespace, and have a
service account that may read and label nodes. install and uninstall run the command of the same
name in the node's mount namespace. On the node itself, use that command directly.`

func nodeCommand(env environment) *cli.Command {
	return &cli.Command{
		Name: "node", Usage: "commands that the installer in a cluster runs", Description: nodeAbout, Action: noSuchCommand,
		Commands: []*cli.Command{
			{
				Name: "install", Usage: "install, verify, and label the node by the result",
				Description: "Exit status: 0: shimward held; 1: it did not; 2: an error.",
				Flags:       nodeFlags(env),
				Action: func(ctx context.Context, command *cli.Command) error {
					return asInstaller(ctx, env, command, func(ctx context.Context, o installer.Options) error {
						held, err := installer.Install(ctx, o)
						if err == nil && !held {
							err = status(statusNo)
						}
						return err
					})
				},
			},
			{
				Name: "uninstall", Usage: "remove the node's label, wait until its guarded containers have ended, and uninstall",
				Flags: nodeFlags(env),
				Action: func(ctx context.Context, command *cli.Command) error {
					return asInstaller(ctx, env, command, installer.Uninstall)
				},
			},
			{
				Name: "unused", Usage: "fail, and say why, if pods of the runtime class run in the cluster",
				Action: func(ctx context.Context, command *cli.Command) error {
					return asInstaller(ctx, env, command, installer.Unused)
				},
			},
			{
				Name: "await", Usage: "wait until a DaemonSet is done on every node",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "daemonset", Required: true, Usage: "the `NAMESPACE/NAME`"},
					&cli.DurationFlag{Name: "timeout", Value: time.Hour, Usage: "fail after this `TIME`"},
				},
				Action: func(ctx context.Context, command *cli.Command) error {
					namespace, name, ok := strings.Cut(command.String("daemonset"), "/")
					if !ok {
						return fmt.Errorf("--daemonset %s: write NAMESPACE/NAME", command.String("daemonset"))
					}
					ctx, cancel := context.WithTimeout(ctx, command.Duration("timeout"))
					defer cancel()
					return asInstaller(ctx, env, command, func(ctx context.Context, o installer.Options) error {
						return installer.AwaitSet(ctx, o, namespace, name)
					})
				},
			},
			{
				Name: "hold", Usage: "wait for SIGTERM: the pod keeps running when it is done, so that its DaemonSet counts as done",
				Action: func(ctx context.Context, command *cli.Command) error {
					if err := noArguments(command); err != nil {
						return err
					}
					ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
					defer stop()
					<-ctx.Done()
					return nil
				},
			},
		},
	}
}

func nodeFlags(env environment) []cli.Flag {
	return append(
		installFlags(env),
		&cli.StringFlag{Name: "node", Required: true, Usage: "the node's `NAME` in the cluster"},
		addressFlag(),
	)
}

func asInstaller(ctx context.Context, env environment, command *cli.Command, do func(context.Context, installer.Options) error) error {
	if err := noArguments(command); err != nil {
		return err
	}
	if command.Bool("dry-run") {
		return errors.New("--dry-run is not supported here: use `shimward install --dry-run` or `shimward uninstall --dry-run`, on the node")
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	return do(ctx, installer.Options{
		Node: command.String("node"), Prefix: command.String("prefix"),
		Containerd: command.String("containerd"), ContainerdConfig: command.String("containerd-config"),
		Address: command.String("address"), Config: command.String("config"), Restart: command.Bool("restart"),
		Getenv: env.getenv, Stdout: env.stdout, Stderr: env.stderr,
	})
}

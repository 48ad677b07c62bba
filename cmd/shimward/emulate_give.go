package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/internal/emulate"
)

func giveCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:      "give",
		Usage:     "open a process's mem file and pass it over a unix socket",
		ArgsUsage: "PID",
		Description: "Opens /proc/PID/mem for reading, before anything else, and passes it to the first process\n" +
			"that connects to the socket. Run it outside the attacker's container: the attacker\n" +
			"(emulate --socket PATH mem-scm-rights) then gets a descriptor without opening anything.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "socket", Usage: "listen on this `PATH` (default: descriptor 3 is a connected socket)"},
		},
		Action: func(ctx context.Context, command *cli.Command) error { return give(ctx, env, command) },
	}
}

func give(ctx context.Context, env environment, command *cli.Command) error {
	pid, err := strconv.Atoi(command.Args().First())
	if err != nil {
		return errors.New("name the process: shimward emulate give PID")
	}
	path := command.String("socket")
	if path == "" {
		// The process that started this one reads the errno from the exit status.
		err := emulate.Give(pid, 3)
		if errno := emulate.Errno(err); errno != 0 {
			_, _ = fmt.Fprintln(env.stderr, err)
			return status(errno)
		}
		return err
	}
	return emulate.GiveTo(pid, func() (*os.File, error) { return accept(ctx, path) })
}

func accept(ctx context.Context, path string) (*os.File, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	connection, err := listener.Accept()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--socket: %w", err), listener.Close())
	}
	file, err := connection.(*net.UnixConn).File()
	return file, errors.Join(err, connection.Close(), listener.Close())
}

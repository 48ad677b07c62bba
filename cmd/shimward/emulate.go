package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/internal/emulate"
)

const emulateAbout = `Attacks a victim that keeps a secret in its memory, and reports for each attempt
whether it got the secret or changed the victim's memory. Run it inside a container
to see what a setup stops. It changes nothing but its own victims, with one
exception: tamper-store and tamper-pins remove the events and the pins of the
container that --guard names.

With a victim in another container that shares the pid namespace:

  shimward emulate victim                   in that container
  shimward emulate all                      in this one; it finds the victim

With a victim that it starts in this container:

  shimward emulate --spawn all

Vectors (all means every vector except those of recon and of tamper):

%s
Exit status: 0: no attempt got through; 1: at least one got the secret, changed
the memory or, if its system call moves no memory, succeeded with that call; 2: an
error, such as no victim.`

func emulateCommand(env environment) *cli.Command {
	var list string
	for _, vector := range emulate.Vectors() {
		list += fmt.Sprintf("  %-22s %s\n", vector.Name, vector.About)
	}
	attack := func(ctx context.Context, command *cli.Command) error { return runEmulate(ctx, env, command) }
	return &cli.Command{
		Name:        "emulate",
		Usage:       "attack a victim of its own, and report what gets through",
		ArgsUsage:   "VECTOR…|all|recon|tamper",
		Description: fmt.Sprintf(emulateAbout, list),
		Flags:       attackFlags(),
		Action:      attack,
		Commands: []*cli.Command{
			{
				Name: "attack", Usage: "the same as emulate without a command", ArgsUsage: "VECTOR…|all|recon|tamper",
				Flags: attackFlags(), Action: attack,
			},
			victimCommand(env),
			giveCommand(env),
			floodCommand(env),
			{
				Name: "strike", Usage: "make one attempt, as ordered on standard input", Hidden: true,
				Action: func(context.Context, *cli.Command) error { return emulate.Strike(env.stdin, env.stdout) },
			},
		},
	}
}

func attackFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "victim", HideDefault: true, Usage: "the victim's `PID`, in this pid namespace (default: the first victim found)"},
		&cli.StringFlag{Name: "address", HideDefault: true, Usage: "address of its secret, in hex (default: from the victim's command line)"},
		&cli.BoolFlag{Name: "spawn", Usage: "start a victim in this container"},
		&cli.BoolFlag{Name: "child", Usage: "have each attempt start a victim as its own child"},
		&cli.IntFlag{Name: "fd", HideDefault: true, Usage: "for mem-inherited: use the open descriptor `N` as the victim's mem file (default: one is opened early)"},
		&cli.StringFlag{Name: "socket", Usage: "for mem-scm-rights: the unix socket `PATH` that \"emulate give\" listens on (default: a socket of its own)"},
		&cli.StringFlag{Name: "host", Value: "/host", Usage: "for tamper-*: the `DIR` below which the node's sys/fs/cgroup, sys/fs/bpf/shimward, run/shimward and var/log/shimward are mounted"},
		&cli.StringFlag{Name: "guard", HideDefault: true, Usage: "for tamper-*: the guard to attack, by the `NAME` of its folder in run/shimward/containers"},
		&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "maximum `TIME` of one attempt"},
		&cli.BoolFlag{Name: "json", Usage: "write one JSON object instead of a table"},
	}
}

func runEmulate(ctx context.Context, env environment, command *cli.Command) error {
	options, err := emulateOptions(ctx, env, command)
	if err != nil {
		return err
	}
	report, err := emulate.Run(ctx, options)
	if err != nil {
		return err
	}
	write := report.WriteText
	if command.Bool("json") {
		write = report.WriteJSON
	}
	if err := write(env.stdout); err != nil {
		return err
	}
	if report.Through() {
		return status(statusNo)
	}
	return nil
}

func emulateOptions(ctx context.Context, env environment, command *cli.Command) (emulate.Options, error) {
	options := emulate.Options{
		Child: command.Bool("child"), Timeout: command.Duration("timeout"),
		Guard: emulate.Guard{Host: command.String("host"), Key: command.String("guard")},
		Self:  []string{"shimward", "emulate"}, Stderr: env.stderr,
	}
	var err error
	if options.Vectors, err = emulate.Select(command.Args().Slice()); err != nil {
		return options, err
	}
	if fd := command.Int("fd"); fd > 0 {
		options.MemFile = os.NewFile(uintptr(fd), "mem")
	}
	if path := command.String("socket"); path != "" {
		if options.Socket, err = dial(ctx, path); err != nil {
			return options, err
		}
	}
	if command.Bool("spawn") || options.Child {
		if command.Bool("spawn") && options.Child || command.Int("victim") != 0 {
			return options, errors.New("--spawn, --child and --victim are mutually exclusive: use one of them")
		}
		return options, nil
	}
	var victim emulate.Victim
	if pid := command.Int("victim"); pid != 0 {
		victim, err = emulate.Describe(pid)
	} else {
		victim, err = emulate.Find()
	}
	if err != nil {
		return options, err
	}
	if address := command.String("address"); address != "" {
		if victim.Address, err = strconv.ParseUint(address, 0, 64); err != nil {
			return options, fmt.Errorf("--address: %w", err)
		}
	}
	options.Victim = &victim
	return options, nil
}

func dial(ctx context.Context, path string) (*os.File, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	file, err := connection.(*net.UnixConn).File()
	return file, errors.Join(err, connection.Close())
}

func victimCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "victim",
		Usage: "keep a secret in memory until SIGTERM",
		Description: "Puts a random secret into an anonymous page, a memfd and shared memory. Its command line\n" +
			"has their locations and a hash of the secret; its name (/proc/<pid>/comm) shows the\n" +
			"value of the word that write attempts target. Exit status: 0, on SIGTERM or SIGINT.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "announce the victim as one line of JSON"},
			&cli.StringFlag{Name: "address", Hidden: true},
			&cli.StringFlag{Name: "sha256", Hidden: true},
			&cli.IntFlag{Name: "memfd", Hidden: true},
			&cli.IntFlag{Name: "shm", Hidden: true},
			&cli.IntFlag{Name: "uffd", Hidden: true},
			&cli.IntFlag{Name: "mem", Hidden: true},
			&cli.BoolFlag{Name: "parent", Hidden: true},
			&cli.IntFlag{Name: "stop-fd", Hidden: true},
			&cli.BoolFlag{Name: "double", Hidden: true},
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			options := emulate.VictimOptions{
				Stop: command.Int("stop-fd"), JSON: command.Bool("json"), Parent: command.Bool("parent"),
				Command: []string{"shimward", "emulate", "victim"}, Out: env.stdout,
			}
			if address := command.String("address"); address != "" {
				where, err := strconv.ParseUint(address, 0, 64)
				if err != nil {
					return fmt.Errorf("--address: %w", err)
				}
				options.Planted = &emulate.Victim{
					Address: where, SHA256: command.String("sha256"), MemFD: command.Int("memfd"),
					ShmFD: command.Int("shm"), OwnMem: command.Int("mem"), UserFD: command.Int("uffd"),
				}
			}
			if command.Bool("double") && options.Planted != nil {
				return emulate.RunDouble(*options.Planted, env.stdin)
			}
			return emulate.RunVictim(ctx, options)
		},
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/nodeconfig"
)

const eventsAbout = `Shows the events in the node's event store, of all containers, in chronological
order: accesses to memory, and the start and end of guarded containers and of the
processes executed in them. Events outlive their containers; the store's size is
bounded.

One line per event; with -o json, JSON Lines (schema ` + event.Schema + `).

Exit status: 0: success; 2: an error.`

func eventsCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "events",
		Usage:       "show the events of this node's guarded containers",
		Description: eventsAbout,
		Flags: []cli.Flag{
			configFlag(env),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "keep showing new events, until SIGINT"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "`FORMAT`: text, wide or json"},
			&cli.StringFlag{Name: "container", Aliases: []string{"c"}, Usage: "show only events of this `CONTAINER`: a prefix of its ID, its name, its pod's name, or NAMESPACE/POD (default: all)"},
			&cli.DurationFlag{Name: "since", HideDefault: true, Usage: "show only events of the last `DURATION`, such as 90s, 10m or 24h (default: all that are kept)"},
			&cli.StringFlag{Name: "severity", Usage: "show only events of this `SEVERITY` and above: info, warning or critical", Value: string(event.SeverityInfo)},
			&cli.StringSliceFlag{Name: "kind", Usage: "show only events of this `KIND`: access, created, started, exec, exited, deleted, risk, lease or notice; may be repeated (default: all)"},
		},
		Action: func(ctx context.Context, command *cli.Command) error { return runEvents(ctx, env, command) },
	}
}

func runEvents(ctx context.Context, env environment, command *cli.Command) error {
	if err := noArguments(command); err != nil {
		return err
	}
	filter, err := eventFilter(command, time.Now())
	if err != nil {
		return err
	}
	render, err := eventRenderer(env, command.String("output"))
	if err != nil {
		return err
	}
	config, _, err := nodeconfig.Load(command.String("config"))
	if err != nil {
		return err
	}
	reader := &event.Reader{Dir: config.Paths.Log, Filter: filter, Skipped: func(folder string, lines uint64) {
		_, _ = fmt.Fprintf(env.stderr, "shimward: %s: skipped %d lines that are not events\n", folder, lines)
	}}
	ctx, cancel := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer cancel()
	if command.Bool("follow") {
		err = reader.Follow(ctx, render)
	} else {
		err = reader.Read(ctx, render)
		if errors.Is(err, fs.ErrNotExist) {
			_, _ = fmt.Fprintf(env.stderr, "shimward: no events: %s does not exist, no guarded container has run on this node yet\n", reader.Dir)
			return nil
		}
	}
	if errors.Is(err, unix.EPIPE) { // for example "shimward events | head"
		return nil
	}
	return err
}

func eventFilter(command *cli.Command, now time.Time) (event.Filter, error) {
	filter := event.Filter{Container: command.String("container")}
	var err error
	if filter.Severity, err = event.ParseSeverity(command.String("severity")); err != nil {
		return filter, fmt.Errorf("--severity is %w", err)
	}
	switch since := command.Duration("since"); {
	case since < 0:
		return filter, fmt.Errorf("--since is %s: write a duration before now, such as 10m", since)
	case since > 0:
		filter.Since = now.Add(-since)
	}
	for _, name := range command.StringSlice("kind") {
		switch kind := event.Kind(name); kind {
		case event.KindAccess, event.KindCreated, event.KindStarted, event.KindExec, event.KindExited, event.KindDeleted, event.KindRisk, event.KindLease, event.KindNotice:
			filter.Kinds = append(filter.Kinds, kind)
		default:
			return filter, fmt.Errorf("--kind is %q: write access, created, started, exec, exited, deleted, risk, lease or notice", name)
		}
	}
	return filter, nil
}

func eventRenderer(env environment, output string) (func(event.Event) error, error) {
	switch output {
	case "text":
		return event.Text{Out: env.stdout}.Render, nil
	case "wide":
		return event.Text{Out: env.stdout, Wide: true}.Render, nil
	case "json":
		return event.JSON{Out: env.stdout}.Render, nil
	default:
		return nil, fmt.Errorf("--output is %q: write text, wide or json", output)
	}
}

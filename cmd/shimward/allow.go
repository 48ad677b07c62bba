package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

const allowAbout = `Allows an executable of a running container to access processes of that container,
for a limited time and for a reason that is recorded:

  shimward allow --container web --exe /usr/bin/gdb --for 10m --why INC-42
  shimward allow --list
  shimward allow --revoke --container web --exe /usr/bin/gdb

The lease is for the file that the container's init finds at that path now:
replacing or editing the file ends the lease. The kernel's programs check the time
themselves, so the lease ends on time even if the shim, containerd or this command
no longer runs. It also ends with the container. Who made it, why and until when is
recorded as an event of the container (shimward events --kind lease).

Exit status: 0: success; 2: an error.`

// The limits of a lease.
const (
	minLease = time.Second
	maxLease = 24 * time.Hour
	maxWhy   = 200
)

func allowCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "allow",
		Usage:       "let an executable of a container access memory for a limited time",
		Description: allowAbout,
		Flags: []cli.Flag{
			configFlag(env),
			containerFlag(),
			&cli.StringFlag{Name: "exe", Usage: "absolute `PATH` of the executable in the container"},
			&cli.DurationFlag{Name: "for", HideDefault: true, Usage: "`DURATION` of the lease, such as 10m; at most 24h"},
			&cli.StringFlag{Name: "why", Usage: "`REASON` to record in the event"},
			&cli.BoolFlag{Name: "pod", Usage: "allow access to processes of the pod's other containers, instead of the container's own"},
			&cli.BoolFlag{Name: "list", Usage: "list the leases that are in force"},
			&cli.BoolFlag{Name: "revoke", Usage: "revoke a lease"},
			&cli.BoolFlag{Name: "json", Usage: "with --list: write a JSON array"},
		},
		Action: func(_ context.Context, command *cli.Command) error { return runAllow(env, command) },
	}
}

func runAllow(env environment, command *cli.Command) error {
	if err := noArguments(command); err != nil {
		return err
	}
	config, _, err := nodeconfig.Load(command.String("config"))
	if err != nil {
		return err
	}
	if command.Bool("list") {
		return listLeases(env, command, config.Paths)
	}
	if os.Geteuid() != 0 {
		return errors.New("changing what the kernel allows requires root: use sudo")
	}
	exe := command.String("exe")
	if command.String("container") == "" || exe == "" {
		return errors.New("--container and --exe are both required")
	}
	if err := policy.CheckException(exe); err != nil {
		return fmt.Errorf("--exe: %w", err)
	}
	length, why := command.Duration("for"), strings.TrimSpace(command.String("why"))
	if !command.Bool("revoke") {
		if err := checkLease(length, why); err != nil {
			return err
		}
	}
	plan, err := guarded.Find(config.Paths, command.String("container"))
	if err != nil {
		return err
	}
	if command.Bool("revoke") {
		return revokeLease(env, plan, exe, command.Bool("pod"))
	}
	return makeLease(env, plan, guarded.Lease{Exe: exe, Pod: command.Bool("pod"), Why: why}, length)
}

// changed is the result of a change to a container's leases.
type changed struct {
	leases  []guarded.Lease
	message string       // to be printed and recorded
	undo    func() error // reverts the change in the kernel; nil if there is nothing to revert
}

// changeLeases runs change on a container's leases, as listed and in the kernel. What is allowed in
// the kernel but cannot be listed is revoked.
func changeLeases(env environment, plan *policy.Plan, change func(*bpf.Node, []guarded.Lease) (changed, error)) (err error) {
	node, err := bpf.Open(bpf.NodeOptions{Paths: plan.Paths})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	var done changed
	now, err := guarded.Now()
	if err != nil {
		return err
	}
	err = guarded.ChangeLeases(plan.Paths, plan.Identity.Key, now, func(leases []guarded.Lease) (_ []guarded.Lease, err error) {
		done, err = change(node, leases)
		return done.leases, err
	})
	if err != nil {
		if done.undo != nil {
			err = errors.Join(err, done.undo())
		}
		return err
	}
	fmt.Fprintln(env.stdout, done.message)
	return recordLease(plan, done.message)
}

func checkLease(length time.Duration, why string) error {
	switch {
	case length < minLease || length > maxLease:
		return fmt.Errorf("--for is %s: write a duration from %s to %s", length, minLease, maxLease)
	case why == "":
		return errors.New("--why is missing: write the reason, which is recorded in the event")
	case len(why) > maxWhy || strings.ContainsFunc(why, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("--why has %d bytes: write at most %d, all printable", len(why), maxWhy)
	}
	return nil
}

func makeLease(env environment, plan *policy.Plan, lease guarded.Lease, length time.Duration) error {
	by, err := whoami(env)
	if err != nil {
		return err
	}
	now, err := guarded.Now()
	if err != nil {
		return err
	}
	lease.By, lease.Granted, lease.Ends = by, now.Time.UTC().Truncate(time.Second), now.SinceBoot+length
	lease.Until = now.Time.Add(length).UTC().Truncate(time.Second).Add(time.Second) // not before the kernel's end
	return changeLeases(env, plan, func(node *bpf.Node, leases []guarded.Lease) (changed, error) {
		file, err := node.Lease(plan.Identity.Key, lease.Exe, lease.Pod, lease.Ends)
		if err != nil {
			return changed{}, err
		}
		lease.File = guarded.File(file)
		leases = slices.DeleteFunc(leases, func(l guarded.Lease) bool { return l.File == lease.File })
		return changed{
			leases:  append(leases, lease),
			message: fmt.Sprintf("%s allowed %s until %s: %s", by, describeLease(lease), lease.Until.Format(time.RFC3339), lease.Why),
			undo:    func() error { return node.EndLease(plan.Identity.Key, file) },
		}, nil
	})
}

func revokeLease(env environment, plan *policy.Plan, exe string, pod bool) error {
	by, err := whoami(env)
	if err != nil {
		return err
	}
	return changeLeases(env, plan, func(node *bpf.Node, leases []guarded.Lease) (changed, error) {
		at := slices.IndexFunc(leases, func(l guarded.Lease) bool { return l.Exe == exe && l.Pod == pod })
		if at < 0 {
			return changed{}, fmt.Errorf("container %s has no lease of %s (see \"shimward allow --list\")", plan.Identity.ID, exe)
		}
		if err := node.EndLease(plan.Identity.Key, bpf.Leased(leases[at].File)); err != nil {
			return changed{}, err
		}
		message := fmt.Sprintf("%s no longer allows %s", by, describeLease(leases[at]))
		return changed{leases: slices.Delete(leases, at, at+1), message: message}, nil
	})
}

func describeLease(l guarded.Lease) string {
	whom := "processes of the same container"
	if l.Pod {
		whom = "processes of other containers of the pod"
	}
	return fmt.Sprintf("%s to access %s", l.Exe, whom)
}

// recordLease appends an event to a separate folder of the store, as the container's own is written
// only by its shim or monitor.
func recordLease(plan *policy.Plan, message string) (err error) {
	const size = 1 << 20
	store, err := event.OpenStore(plan.Paths.Events(plan.Identity.Key+"-leases"), size)
	if err != nil {
		return fmt.Errorf("the change was made, but could not be recorded: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	err = store.Append(event.Event{
		Time: time.Now(), Kind: event.KindLease, Severity: event.SeverityWarning, Message: message,
		Container: guarded.InEvents(&plan.Identity),
	})
	if err != nil {
		return fmt.Errorf("the change was made, but could not be recorded: %w", err)
	}
	return nil
}

func listLeases(env environment, command *cli.Command, paths policy.Paths) error {
	type listed struct {
		Container string `json:"container"`
		Pod       string `json:"of_pod,omitempty"`
		guarded.Lease
	}
	all := []listed{}
	plans, err := guarded.Plans(paths)
	if err != nil {
		return err
	}
	now, err := guarded.Now()
	if err != nil {
		return err
	}
	for _, plan := range plans {
		leases, err := guarded.Leases(plan.Paths, plan.Identity.Key, now)
		if err != nil {
			return err
		}
		for _, lease := range leases {
			all = append(all, listed{Container: plan.Identity.ID, Pod: plan.Identity.Pod, Lease: lease})
		}
	}
	if command.Bool("json") {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(env.stdout, "no leases are in force")
		return err
	}
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CONTAINER\tPOD\tEXE\tAT\tUNTIL\tBY\tWHY")
	for _, l := range all {
		at := "container"
		if l.Lease.Pod {
			at = "pod"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Container, l.Pod, l.Exe, at, l.Until.Format(time.RFC3339), l.By, l.Why)
	}
	return table.Flush()
}

// noLogin is the value of /proc/self/loginuid if nobody has logged in.
const noLogin = 1<<32 - 1

// whoami returns the user who runs this: the one who logged in, if the kernel's audit knows it;
// else the caller of sudo; else the current user.
func whoami(env environment) (string, error) {
	text, err := os.ReadFile("/proc/self/loginuid")
	if err == nil {
		if uid, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil && uid != noLogin {
			return named(strconv.FormatUint(uid, 10)), nil
		}
	}
	if uid := env.getenv("SUDO_UID"); uid != "" {
		if _, err := strconv.ParseUint(uid, 10, 32); err != nil {
			return "", fmt.Errorf("SUDO_UID is %.32q: it is not a user ID", uid)
		}
		return named(uid), nil
	}
	return named(strconv.Itoa(os.Getuid())), nil
}

// named returns a user's name, or the number if it has none.
func named(uid string) string {
	if found, err := user.LookupId(uid); err == nil {
		return found.Username
	}
	return "uid " + uid
}

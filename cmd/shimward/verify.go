package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/doctor"
	"github.com/shimward/shimward/internal/install"
	"github.com/shimward/shimward/internal/installer"
	"github.com/shimward/shimward/internal/verify"
)

const verifyAbout = `Tests by attack whether shimward holds on this node. On the containerd that runs
here, in the containerd namespace shimward-verify, it starts a victim and, in the
victim's pid namespace, the attacks of "shimward emulate": once under stock runc,
which shows which attacks work here at all, and once under shimward with enforce and
the profile strict. It needs no image. It removes everything that it made, also on
Ctrl-C, except the events: anyone who monitors this node sees the attacks.

A vector that this node's tier does not see ("shimward doctor") is listed as such,
and is not a failure. If containerd does not see the same /tmp, set TMPDIR to a
folder that it sees.

With --label-node, the node gets the label ` + installer.ReadyLabel + `=ready if shimward held,
and loses it if it did not. An error leaves the label unchanged.

Exit status: 0: it held; 1: something got through, or failed for a reason other than
shimward, or no attack works here; 2: an error.`

func verifyCommand(env environment) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "test by attack whether shimward holds on this node", Description: verifyAbout,
		Flags: []cli.Flag{
			configFlag(env),
			addressFlag(),
			&cli.BoolFlag{Name: "json", Usage: "write one JSON object"},
			&cli.StringFlag{Name: "label-node", HideDefault: true, Usage: "label the cluster's node `NAME` by the result"},
			&cli.StringFlag{Name: "kubeconfig", HideDefault: true, Usage: "the kubeconfig `FILE` for kubectl (default: kubectl's own)"},
			&cli.StringFlag{Name: "kubectl", Value: "kubectl", Usage: "the kubectl `COMMAND` that labels the node"},
		},
		Action: func(ctx context.Context, command *cli.Command) error { return runVerify(ctx, env, command) },
	}
}

func runVerify(ctx context.Context, env environment, command *cli.Command) error {
	if err := noArguments(command); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	tier := doctor.Diagnose(doctor.Gather(ctx, doctor.Options{Config: command.String("config"), Path: env.getenv("PATH"), Beside: filepath.Dir(self)})).Tier
	if tier == nil {
		return errors.New("this node's kernel accepts none of shimward's programs: \"shimward doctor\" says why")
	}
	address := command.String("address")
	if address == "" {
		if address, err = install.Socket(defaultPrefix); err != nil {
			return err
		}
	}
	report, err := verify.Run(ctx, verify.Options{Address: address, Self: self, Tier: *tier})
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), err)
	}
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
	if node := command.String("label-node"); node != "" {
		if err := labelNode(ctx, env, command, node, report.Held); err != nil {
			return err
		}
	}
	if !report.Held {
		return status(statusNo)
	}
	return nil
}

// labelNode has kubectl set the label or remove it. kubectl does not treat removing a label that is
// not there as an error.
func labelNode(ctx context.Context, env environment, command *cli.Command, node string, held bool) error {
	var args []string
	if file := command.String("kubeconfig"); file != "" {
		args = append(args, "--kubeconfig", file)
	}
	if held {
		args = append(args, "label", "node", node, installer.ReadyLabel+"=ready", "--overwrite")
	} else {
		args = append(args, "label", "node", node, installer.ReadyLabel+"-")
	}
	said, err := exec.CommandContext(ctx, command.String("kubectl"), args...).CombinedOutput() //nolint:gosec // the operator says which kubectl
	if err != nil {
		return fmt.Errorf("shimward held on this node: %t; but the label %s of node %s could not be changed: kubectl: %w: %s", held, installer.ReadyLabel, node, err, said)
	}
	_, err = env.stderr.Write(said)
	return err
}

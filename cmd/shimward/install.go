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

	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/internal/install"
	"github.com/shimward/shimward/internal/nodeconfig"
)

const installAbout = `Puts this binary, and the shim and the hook next to it, into a folder for their
version below PREFIX/lib/shimward, links to them from PREFIX/bin, and adds the
runtime "shimward" to containerd's config: as conf.d/shimward.toml if containerd
merges that file, otherwise at the end of the config itself, of which it keeps a
copy. It compares how containerd reads its config before and after, and restores
everything if anything else changed. Running containers keep the binaries that they
were started with.

k3s and RKE2 generate containerd's config from a template when they start. There,
the runtime goes into the folder that their config imports, or into the template.

A second install of the same version changes nothing.`

const uninstallAbout = `Removes what "shimward install" wrote, and nothing else. While containers run under
shimward, it refuses and lists them.`

func installCommand(env environment) *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "install shimward on this node", Description: installAbout,
		Flags: append(installFlags(env), &cli.StringFlag{
			Name: "source", HideDefault: true, Usage: "the `FOLDER` with the three binaries (default: the folder of this one)",
		}),
		Action: func(ctx context.Context, command *cli.Command) error {
			return runInstall(ctx, env, command, install.Install)
		},
	}
}

func uninstallCommand(env environment) *cli.Command {
	return &cli.Command{
		Name: "uninstall", Usage: "remove shimward from this node", Description: uninstallAbout, Flags: installFlags(env),
		Action: func(ctx context.Context, command *cli.Command) error {
			return runInstall(ctx, env, command, install.Uninstall)
		},
	}
}

const defaultPrefix = "/usr/local"

func addressFlag() cli.Flag {
	return &cli.StringFlag{Name: "address", Usage: "containerd's `SOCKET` (default: that of the containerd that shimward is installed for)"}
}

func installFlags(env environment) []cli.Flag {
	return []cli.Flag{
		configFlag(env),
		&cli.StringFlag{Name: "prefix", Value: defaultPrefix, Usage: "the `FOLDER` that contains lib and bin; bin must be in containerd's PATH"},
		&cli.StringFlag{Name: "containerd-config", Usage: "containerd's config `FILE` (default: that of the installation, else /etc/containerd/config.toml or, if that does not exist, k3s's or RKE2's)"},
		&cli.StringFlag{Name: "containerd", Usage: "the containerd `COMMAND` that prints how it reads its config (default: containerd, or that of k3s or RKE2)"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print what would be done, without doing it"},
		&cli.BoolFlag{Name: "restart", Usage: "have systemd restart containerd, or the k3s or RKE2 that runs it, if its config changed"},
	}
}

func runInstall(ctx context.Context, env environment, command *cli.Command, do func(context.Context, install.Options) ([]string, error)) error {
	if err := noArguments(command); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	source := command.String("source")
	if source == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		source = filepath.Dir(self)
	}
	prefix, err := filepath.Abs(command.String("prefix"))
	if err != nil {
		return err
	}
	config := command.String("containerd-config")
	if config != "" {
		if config, err = filepath.Abs(config); err != nil {
			return err
		}
	}
	restart, err := do(ctx, install.Options{
		Prefix: prefix, Config: config, Containerd: command.String("containerd"),
		Source: source, Version: version(), DryRun: command.Bool("dry-run"), Output: env.stdout,
		Guarded: func() ([]string, error) { return guardedNames(command.String("config")) },
	})
	if err != nil || len(restart) == 0 {
		return err
	}
	return restartContainerd(ctx, env, restart, command.Bool("restart"))
}

// restartContainerd restarts the unit that runs containerd, or says that this has to be done.
func restartContainerd(ctx context.Context, env environment, units []string, now bool) error {
	unit, err := install.Active(units, func(args ...string) (int, error) {
		err := exec.CommandContext(ctx, "systemctl", args...).Run() //nolint:gosec // the units are install's
		var exited *exec.ExitError
		if errors.As(err, &exited) && exited.Exited() {
			return exited.ExitCode(), nil
		}
		return 0, err
	})
	switch {
	case !now && err != nil:
		_, err = fmt.Fprintf(env.stdout, "now: restart the service that runs containerd here (containers keep running); %v\n", err)
	case !now:
		_, err = fmt.Fprintf(env.stdout, "now: systemctl restart %s (containers keep running)\n", unit)
	case err != nil:
		err = fmt.Errorf("restart the service that runs containerd here by hand: %w", err)
	default:
		var said []byte
		if said, err = exec.CommandContext(ctx, "systemctl", "restart", unit).CombinedOutput(); err != nil { //nolint:gosec // see above
			err = fmt.Errorf("systemctl restart %s: %w: %s", unit, err, said)
		}
	}
	return err
}

func guardedNames(config string) ([]string, error) {
	loaded, _, err := nodeconfig.Load(config)
	if err != nil {
		return nil, err
	}
	plans, err := guarded.Plans(loaded.Paths)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(plans))
	for _, plan := range plans {
		names = append(names, fmt.Sprintf("%s (has state in %s)", plan.Identity.Namespace+"/"+plan.Identity.ID, loaded.Paths.Run))
	}
	return names, nil
}

package main

import (
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

// containerFlag returns --container, in the form that guarded.Find accepts.
func containerFlag() cli.Flag {
	return &cli.StringFlag{Name: "container", Aliases: []string{"c"}, Usage: "the guarded `CONTAINER`: a prefix of its ID, its name, its pod's name, or NAMESPACE/POD"}
}

// configFlag returns --config. The shim reads nodeconfig.Env from containerd's environment, which
// this process does not have; so the flag says what it uses.
func configFlag(env environment) cli.Flag {
	return &cli.StringFlag{
		Name: "config", Value: env.getenv(nodeconfig.Env), HideDefault: true,
		Usage: "the node's config `FILE` (default: $" + nodeconfig.Env + ", else " + policy.ConfigFile + ", else the built-in config)",
	}
}

func noArguments(command *cli.Command) error {
	if command.Args().Present() {
		return fmt.Errorf("%s takes no arguments, but got %q (see \"%s --help\")",
			command.FullName(), command.Args().First(), command.FullName())
	}
	return nil
}

package main

import (
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

// containerFlag is --container, as guarded.Find takes it.
func containerFlag() cli.Flag {
	return &cli.StringFlag{Name: "container", Aliases: []string{"c"}, Usage: "the guarded `CONTAINER`: the start of its ID, its name, its pod's name, or NAMESPACE/POD"}
}

// configFlag is --config. containerd's environment, which the shim reads
// nodeconfig.Env from, is not this process's; so the flag says what it takes.
func configFlag(env environment) cli.Flag {
	return &cli.StringFlag{
		Name: "config", Value: env.getenv(nodeconfig.Env), HideDefault: true,
		Usage: "the node's config `FILE` (default: $" + nodeconfig.Env + ", else " + policy.ConfigFile + ", else the built-in config)",
	}
}

func noArguments(command *cli.Command) error {
	if command.Args().Present() {
		return fmt.Errorf("%s takes no argument, but there is %q (see \"%s --help\")",
			command.FullName(), command.Args().First(), command.FullName())
	}
	return nil
}

// Command shimward-hook is `shimward hook` alone. A container waits for the hook when it is created
// and again when it is deleted; this binary has a fifth of the size, and starts in a third of the
// time. The shim looks for it next to itself.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/shimward/shimward/hooks"
)

// statusFailed fails the container's creation; poststop never returns it.
const statusFailed = 2

func main() {
	// The arguments are those of `shimward hook`, which is what hooks.Edit writes.
	if len(os.Args) != 3 || os.Args[1] != "hook" {
		fmt.Fprintf(os.Stderr, "shimward: the container runtime starts this, as \"shimward hook %s\" or \"shimward hook %s\"\n", hooks.NameCreateRuntime, hooks.NamePoststop)
		os.Exit(statusFailed)
	}
	if err := hooks.Run(context.Background(), os.Args[2], os.Stdin, os.Getenv(hooks.EnvRun), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "shimward:", err)
		os.Exit(statusFailed)
	}
}

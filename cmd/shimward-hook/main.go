//go:debug containermaxprocs=0

// Command shimward-hook is `shimward hook` as far as a container waits for it: the runtime starts it
// when the container is created and again when it is deleted. The shim looks for it next to itself.
package main

import (
	"fmt"
	"os"

	"github.com/shimward/shimward/internal/relay"
)

// statusFailed fails the container's creation; poststop never returns it.
const statusFailed = 2

func main() {
	// The arguments are those of `shimward hook`, which is what hooks.Edit writes.
	if len(os.Args) != 3 || os.Args[1] != "hook" {
		fmt.Fprintf(os.Stderr, "shimward: the container runtime starts this, as \"shimward hook %s\" or \"shimward hook %s\"\n", relay.NameCreateRuntime, relay.NamePoststop)
		os.Exit(statusFailed)
	}
	hook := relay.Hook{Name: os.Args[2], Getenv: os.Getenv, Stdin: os.Stdin, Log: os.Stderr, Alone: relay.ExecFull}
	if err := hook.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "shimward:", err)
		os.Exit(statusFailed)
	}
}

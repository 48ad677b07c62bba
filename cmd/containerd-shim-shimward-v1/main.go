// Command containerd-shim-shimward-v1 is the shim that containerd starts for the runtime type
// io.containerd.shimward.v1. It is implemented in package shim.
package main

import (
	"context"
	"os"

	"github.com/shimward/shimward/shim"
)

func main() {
	os.Exit(shim.Run(context.Background(), shim.Invocation{
		Args: os.Args[1:], Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}

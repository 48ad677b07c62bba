package shim

import (
	"context"
	"fmt"
	"io"
	"os"

	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
)

// Invocation is how containerd has run the shim's binary.
type Invocation struct {
	Args           []string // without the command's name
	Getenv         func(string) string
	Stdin          *os.File
	Stdout, Stderr io.Writer
}

// Run does what containerd requests of the shim's binary and returns the exit code. Except for a
// legacy start, it calls RunShim, which reads the process's own arguments and streams, and ends the
// process if it fails.
func Run(ctx context.Context, invoked Invocation) int {
	manager := NewManager()
	served, err := startLegacy(ctx, manager, invoked)
	if err != nil {
		_, _ = fmt.Fprintf(invoked.Stderr, "%s: %s", Runtime, err)
		return 1
	}
	if !served {
		Register()
		containerdshim.RunShim(ctx, manager)
	}
	return 0
}

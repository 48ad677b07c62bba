// Command shimward is shimward's command line: what the container runtime calls (hook), what shows
// operators the state of a node (doctor, events, ps), and what lets anyone try it out (emulate,
// verify).
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(exitStatus(os.Stderr, run(context.Background(), environment{
		args:   os.Args,
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv,
	})))
}

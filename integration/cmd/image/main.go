// Command image writes the image that deploy/ runs on a node. `make image` calls it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/shimward/shimward/integration/internal/image"
)

func main() {
	if err := run(os.Stdout, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	bin := flags.String("bin", "bin", "the `folder` with shimward's binaries")
	to := flags.String("o", "build/image.tar", "the `file`, an OCI layout in a tar")
	reference := flags.String("name", "", "the image's `name`: REGISTRY/REPOSITORY:TAG")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	file, err := os.Create(*to) //nolint:gosec // where the caller wants it
	if err != nil {
		return err
	}
	digest, err := image.Write(file, *reference, *bin)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(*to)) //nolint:gosec // just created
	}
	_, err = fmt.Fprintf(out, "%s: %s@%s\n", *to, *reference, digest)
	return err
}

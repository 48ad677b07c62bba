// Command testsum displays and counts the results of `go test -json`, for scripts/test.
//
//	testsum show FILE      reads a suite from stdin, stores it in FILE, prints go test's
//	                       closing lines and the whole output of failing tests
//	testsum total FILE…    counts the suites that were stored, lists the skipped tests and
//	                       the failed ones, with the end of their output
//
// It exits 1 if a test failed, or if no test of a suite ran.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "show":
		return show(args[1], in, out)
	case len(args) > 1 && args[0] == "total":
		return total(args[1:], out)
	default:
		return errors.New("usage: testsum show FILE | total FILE…")
	}
}

func show(path string, in io.Reader, out io.Writer) (err error) {
	kept, err := os.Create(path) //nolint:gosec // the caller says where
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	writer := bufio.NewWriter(kept)
	suite, err := read(io.TeeReader(in, writer), out)
	if err := errors.Join(err, writer.Flush()); err != nil {
		return err
	}
	return suite.err(path)
}

func total(paths []string, out io.Writer) error {
	var sum suite
	var errs []error
	for _, path := range paths {
		one, err := readFile(path)
		if err != nil {
			return err
		}
		errs = append(errs, one.err(path))
		sum.add(one)
	}
	for _, skipped := range sum.skipped {
		fmt.Fprintf(out, "skipped: %s\n", skipped)
	}
	for _, failed := range sum.failed {
		fmt.Fprint(out, failed)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", sum.passed, len(sum.failed))
	return errors.Join(errs...)
}

func readFile(path string) (suite, error) {
	file, err := os.Open(path) //nolint:gosec // the caller says which
	if err != nil {
		return suite{}, err
	}
	defer file.Close() //nolint:errcheck // only read from
	return read(file, io.Discard)
}

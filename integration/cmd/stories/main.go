// Command stories maintains the table in docs/operations.md that shows which end-to-end story
// passed on which containerd release and in which tier. It reads the output of the end-to-end
// tests.
//
//	stories write PAGE FILE…   writes the table from outputs of go test -json
//	stories check PAGE FILE…   exits 1 if the page differs from these outputs
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stories:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 || args[0] != "write" && args[0] != "check" {
		return errors.New("usage: stories write|check PAGE FILE…")
	}
	page, err := os.ReadFile(args[1]) //nolint:gosec // the caller says which
	if err != nil {
		return err
	}
	before, table, after, err := cut(string(page))
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	var runs []told
	for _, path := range args[2:] {
		found, err := readFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		runs = merge(runs, found)
	}
	if args[0] == "check" {
		if err := check(table, runs); err != nil {
			return fmt.Errorf("%s is not what the tests saw (make stories writes it): %w", args[1], err)
		}
		return nil
	}
	return os.WriteFile(args[1], []byte(before+render(runs)+after), 0o644) //nolint:gosec // a page for everybody
}

func readFile(path string) (told, error) {
	file, err := os.Open(path) //nolint:gosec // the caller says which
	if err != nil {
		return told{}, err
	}
	defer file.Close() //nolint:errcheck // only read from
	return read(file)
}

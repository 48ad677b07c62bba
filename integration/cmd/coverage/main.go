// Command coverage generates docs/coverage.md from the tests' results.
//
//	coverage write PAGE FILE…   writes the page from the suites that testsum stored
//	coverage check PAGE FILE…   exits 1 if the page differs from these suites
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/shimward/shimward/integration/internal/coverage"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 || args[0] != "write" && args[0] != "check" {
		return errors.New("usage: coverage write|check PAGE FILE…")
	}
	var proofs []coverage.Proof
	for _, path := range args[2:] {
		found, err := read(path)
		if err != nil {
			return err
		}
		proofs = append(proofs, found...)
	}
	var page strings.Builder
	if err := coverage.Page(&page, proofs); err != nil {
		return err
	}
	if args[0] == "write" {
		return os.WriteFile(args[1], []byte(page.String()), 0o644) //nolint:gosec // a page for everybody
	}
	had, err := os.ReadFile(args[1]) //nolint:gosec // the caller says which
	if err != nil {
		return err
	}
	if err := coverage.Same(string(had), page.String()); err != nil {
		return fmt.Errorf("%s is not what the tests saw (make coverage writes it): %w", args[1], err)
	}
	return nil
}

func read(path string) ([]coverage.Proof, error) {
	file, err := os.Open(path) //nolint:gosec // the caller says which
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	return coverage.Read(file)
}

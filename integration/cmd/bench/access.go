package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// The number of accesses in one measurement, and the number of threads of a flood. Accesses that
// shimward does not check (unasked) take a thousandth of the time, so there are more of them.
const (
	accesses     = 4_000
	unasked      = 100_000
	floodThreads = 4
)

// attacker returns the spec of a container that shares victim's pid namespace and may access its
// memory.
func (b *bench) attacker(spec node.Spec, victim *node.Container) node.Spec {
	spec.PIDOf = victim
	spec.Capabilities = []string{"CAP_SYS_PTRACE"}
	spec.Options = b.tool()
	return spec
}

func (b *bench) tool() []oci.SpecOpts {
	return []oci.SpecOpts{oci.WithMounts([]specs.Mount{{
		Source: filepath.Join(b.bin, "shimward"), Destination: "/bin/shimward", Type: "bind", Options: []string{"bind", "ro"},
	}})}
}

func (b *bench) victim(ctx context.Context) (*node.Container, error) {
	victim, err := b.node.RunDetached(ctx, stock(node.Spec{Args: []string{"/bin/shimward", "emulate", "victim"}, Options: b.tool()}))
	if err != nil {
		return nil, err
	}
	if err := victim.WaitLine(ctx, "secret"); err != nil {
		return nil, errors.Join(err, victim.Delete(ctx))
	}
	return victim, nil
}

// arrangement is a setting that determines who has to permit an access.
type arrangement struct {
	name     string
	attempts int
	of       func(node.Spec) node.Spec
}

// access times process_vm_readv(2) of a secret in another container: not checked, permitted in
// audit mode, and refused in enforce mode. It measures on one thread, and as many as possible on
// several.
func (b *bench) access(ctx context.Context) (_ []table, err error) {
	victim, err := b.victim(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, victim.Delete(ctx)) }()
	arrangements := []arrangement{
		{"unguarded", unasked, stock}, {"let through (audit)", accesses, audited}, {"refused (enforce)", accesses, guarded},
	}
	names := make([]string, len(arrangements))
	one, flood, rate := make([][]float64, len(names)), make([][]float64, len(names)), make([][]float64, len(names))
	for i := range b.rounds {
		b.round("an access", i)
		for j := range arrangements {
			which := (i + j) % len(arrangements)
			now := arrangements[which]
			names[which] = now.name
			for _, threads := range []int{1, floodThreads} {
				took, err := b.flood(ctx, now.of(b.attacker(node.Spec{}, victim)), now.attempts, threads)
				if err != nil {
					return nil, err
				}
				if threads == 1 {
					one[which] = append(one[which], took)
				} else {
					flood[which] = append(flood[which], took)
					rate[which] = append(rate[which], 1000/took)
				}
			}
		}
	}
	return []table{
		{Title: "An access to another container's memory, process_vm_readv(2)", Unit: "us", Rows: []row{
			newRow("on one thread, each", names, nil, one),
			newRow(fmt.Sprintf("on %d threads, each", floodThreads), names, nil, flood),
		}},
		{Title: fmt.Sprintf("A flood of them, on %d threads", floodThreads), Unit: "thousands a second", Rows: []row{
			newRow("attempts", names, nil, rate),
		}},
	}, nil
}

func audited(spec node.Spec) node.Spec {
	spec = guarded(spec)
	spec.Annotations["shimward.dev/mode"] = "audit"
	return spec
}

// flood returns the mean time of one of many accesses, in microseconds.
func (b *bench) flood(ctx context.Context, spec node.Spec, attempts, threads int) (float64, error) {
	spec.Args = []string{"/bin/shimward", "emulate", "flood", fmt.Sprintf("--attempts=%d", attempts), fmt.Sprintf("--threads=%d", threads)}
	result, err := b.node.Run(ctx, spec)
	if err != nil {
		return 0, err
	}
	var sum emulate.Flooded
	if err := json.Unmarshal([]byte(result.Stdout), &sum); err != nil {
		return 0, fmt.Errorf("read what the flood came to: %w in %s", err, result)
	}
	if sum.Attempts != attempts {
		return 0, fmt.Errorf("%d attempts of %d were made", sum.Attempts, attempts)
	}
	return float64(sum.Took.Nanoseconds()) / 1000 / float64(attempts), nil
}

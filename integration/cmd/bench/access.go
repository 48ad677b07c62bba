package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// How many accesses are timed at once, on one thread and on several.
const (
	accesses     = 20_000
	floodThreads = 4
	samples      = 100 // of the time to an event
)

// attacker is a container that shares the pid namespace of a victim's, and may reach for its memory.
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

// access times process_vm_readv(2) of a secret in another container: let
// through by nobody's leave, by audit, and refused; and as many as possible at once.
func (b *bench) access(ctx context.Context) (_ table, err error) {
	victim, err := b.victim(ctx)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, victim.Delete(ctx)) }()
	audited := func(spec node.Spec) node.Spec {
		spec = guarded(spec)
		spec.Annotations["shimward.dev/mode"] = "audit"
		return spec
	}
	arrangements := []func(node.Spec) node.Spec{stock, audited, guarded}
	one, flood := make([][]float64, len(arrangements)), make([][]float64, len(arrangements))
	for i := range b.rounds {
		b.round("an access", i)
		for j := range arrangements {
			which := (i + j) % len(arrangements)
			for threads, values := range map[int][][]float64{1: one, floodThreads: flood} {
				took, err := b.flood(ctx, arrangements[which](b.attacker(node.Spec{}, victim)), threads)
				if err != nil {
					return table{}, err
				}
				values[which] = append(values[which], took)
			}
		}
	}
	names := []string{"unguarded", "let through (audit)", "refused (enforce)"}
	return table{Title: "An access to another container's memory, process_vm_readv(2)", Unit: "us", Rows: []row{
		newRow("on one thread, each", names, nil, one),
		newRow(fmt.Sprintf("on %d threads, each", floodThreads), names, nil, flood),
	}}, nil
}

// flood returns the microseconds that one of many accesses took.
func (b *bench) flood(ctx context.Context, spec node.Spec, threads int) (float64, error) {
	spec.Args = []string{"/bin/shimward", "emulate", "flood", fmt.Sprintf("--attempts=%d", accesses), fmt.Sprintf("--threads=%d", threads)}
	result, err := b.node.Run(ctx, spec)
	if err != nil {
		return 0, err
	}
	var sum emulate.Flooded
	if err := json.Unmarshal([]byte(result.Stdout), &sum); err != nil {
		return 0, fmt.Errorf("read what the flood came to: %w in %s", err, result)
	}
	if sum.Attempts != accesses {
		return 0, fmt.Errorf("%d attempts of %d were made", sum.Attempts, accesses)
	}
	return float64(sum.Took.Nanoseconds()) / 1000 / accesses, nil
}

// latency times how long after a refused access its event can be read in the store.
func (b *bench) latency(ctx context.Context) (_ table, err error) {
	victim, err := b.victim(ctx)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, victim.Delete(ctx)) }()
	attacker, err := b.node.RunDetached(ctx, guarded(b.attacker(node.Spec{}, victim)))
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, attacker.Delete(ctx)) }()
	var rows []row
	for _, vector := range []string{"process-vm-readv", "proc-mem-read"} {
		b.round("the time to an event of "+vector, 0)
		var took []float64
		for i := range samples {
			one, err := b.timeToEvent(ctx, attacker, fmt.Sprintf("%s-%d", vector, i), vector)
			if err != nil {
				return table{}, err
			}
			took = append(took, one)
		}
		p50, p99 := []float64{quantile(took, 0.5)}, []float64{quantile(took, 0.99)}
		rows = append(rows, newRow(vector, []string{"p50", "p99"}, nil, [][]float64{p50, p99}))
	}
	return table{Title: fmt.Sprintf("From an access to its event on disk, of %d", samples), Unit: "ms", Rows: rows}, nil
}

// timeToEvent attacks once, by a new process, and returns the milliseconds.
func (b *bench) timeToEvent(ctx context.Context, attacker *node.Container, id, vector string) (float64, error) {
	reader := event.Reader{Dir: b.node.Paths.Log, Filter: event.Filter{Kinds: []event.Kind{event.KindAccess}}}
	count := func() (n int, last event.Event, err error) {
		err = reader.Read(ctx, func(e event.Event) error {
			if e.Container.ID == attacker.ID {
				n, last = n+1, e
			}
			return nil
		})
		return n, last, err
	}
	before, _, err := count()
	if err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() {
		_, err := attacker.Exec(ctx, id, "/bin/shimward", "emulate", "--json", vector)
		done <- err
	}()
	// The store is a file: it is looked at as often as it can be.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		n, last, err := count()
		if err != nil {
			return 0, err
		}
		if n > before {
			took := time.Since(last.Time)
			return float64(took.Microseconds()) / 1000, <-done
		}
	}
	return 0, errors.Join(fmt.Errorf("there is no event of %s", vector), <-done)
}

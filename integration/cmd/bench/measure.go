package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/integration/internal/node"
)

// guarded applies the strictest settings that a container can have, which cost most.
func guarded(spec node.Spec) node.Spec {
	spec.Runtime = node.Shimward
	spec.Annotations = map[string]string{"shimward.dev/mode": "enforce", "shimward.dev/profile": "strict"}
	return spec
}

func stock(spec node.Spec) node.Spec {
	spec.Runtime = node.Runc
	return spec
}

// lifecycles returns how many lifecycles to time. There are ten per round, because one takes little
// time and two differ by more than what shimward adds.
func lifecycles(rounds int) int { return 10 * rounds }

// lifecycle times a container that runs `true`, from the creation of its task to its exit.
func (b *bench) lifecycle(ctx context.Context) (table, error) {
	values := make([][]float64, 2)
	const warmUp = 2
	for i := range lifecycles(b.rounds) + warmUp {
		if i >= warmUp {
			b.round("create to exit", (i-warmUp)/10)
		}
		for j := range values {
			which := (i + j) % len(values)
			spec := node.Spec{Args: []string{"/bin/true"}, DefaultSeccomp: true}
			took, err := b.createToExit(ctx, [...]func(node.Spec) node.Spec{stock, guarded}[which](spec))
			if err != nil {
				return table{}, err
			}
			if i >= warmUp {
				values[which] = append(values[which], float64(took.Microseconds())/1000)
			}
		}
	}
	return table{Title: "A container that runs `true`", Unit: "ms", Rows: []row{
		newRow("create to exit", []string{"stock runc", "shimward enforce"}, []float64{1, 1.10}, values),
	}}, nil
}

func (b *bench) createToExit(ctx context.Context, spec node.Spec) (took time.Duration, err error) {
	c, err := b.node.Prepare(ctx, spec)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Delete(ctx)) }()
	from := time.Now()
	if err := c.CreateTask(ctx); err != nil {
		return 0, err
	}
	if err := c.Start(ctx); err != nil {
		return 0, err
	}
	result, err := c.Wait(ctx)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("true failed: %s", result)
	}
	return time.Since(from), err
}

// idle is how long a container runs before its shim is measured. By then, the shim has given back
// the memory that its start needed.
const idle = 15 * time.Second

// memory measures the shim of an idle container: its proportional set size (proc_pid_smaps(5)).
func (b *bench) memory(ctx context.Context) (table, error) {
	values := make([][]float64, 2)
	for i := range b.rounds {
		b.round("the shim's memory", i)
		weights, err := b.weigh(ctx, i%len(values))
		if err != nil {
			return table{}, err
		}
		for which, weight := range weights {
			values[which] = append(values[which], weight)
		}
	}
	return table{Title: "The shim of an idle container", Unit: "KiB", Rows: []row{
		newRow("proportional set size", []string{"stock runc", "shimward enforce"}, []float64{1, 1.25}, values),
	}}, nil
}

// rest waits until what has been started is idle.
func rest(ctx context.Context) error {
	select {
	case <-time.After(idle):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// weigh starts a container in each arrangement, beginning with first, and measures their shims'
// memory.
func (b *bench) weigh(ctx context.Context, first int) (weights [2]float64, err error) {
	var pids [2]int
	for i := range pids {
		which := (first + i) % len(pids)
		c, err := b.node.RunDetached(ctx, [...]func(node.Spec) node.Spec{stock, guarded}[which](node.Spec{DefaultSeccomp: true}))
		if err != nil {
			return weights, err
		}
		defer func() { err = errors.Join(err, c.Delete(ctx)) }()
		pids[which] = c.PID
	}
	if err := rest(ctx); err != nil {
		return weights, err
	}
	for which, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return weights, err
		}
		// The container's shim is a subreaper and so the parent of init (proc_pid_stat(5), field
		// 4).
		_, rest, _ := strings.Cut(string(status), ") ")
		if weights[which], err = pss(strings.Fields(rest)[1]); err != nil {
			return weights, err
		}
	}
	return weights, nil
}

func pss(pid string) (float64, error) {
	rollup, err := os.Open(filepath.Join("/proc", pid, "smaps_rollup")) //nolint:gosec // a number under /proc
	if err != nil {
		return 0, err
	}
	defer rollup.Close() //nolint:errcheck // only read from
	for lines := bufio.NewScanner(rollup); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == "Pss:" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, fmt.Errorf("no Pss in %s", rollup.Name())
}

// inside times system calls of an ordinary program: with shimward not loaded, with an empty program
// in its place, unguarded next to a guarded container, and guarded.
func (b *bench) inside(ctx context.Context) (table, error) {
	var names []string
	values := map[string][][]float64{}
	spec := node.Spec{
		Args: []string{"/bin/micro"}, DefaultSeccomp: true,
		Options: []oci.SpecOpts{oci.WithMounts([]specs.Mount{{
			Source: b.micro, Destination: "/bin/micro", Type: "bind", Options: []string{"bind", "ro"},
		}})},
	}
	arrangements := []func(context.Context, node.Spec) (string, error){b.absent, b.empty, b.neighbour, b.guarded}
	for i := range b.rounds {
		b.round("inside a container", i)
		for j := range arrangements {
			which := (i + j) % len(arrangements)
			output, err := arrangements[which](ctx, spec)
			if err != nil {
				return table{}, err
			}
			for _, line := range strings.Split(strings.TrimSpace(output), "\n") {
				name, number, _ := strings.Cut(line, "\t")
				value, err := strconv.ParseFloat(number, 64)
				if err != nil {
					return table{}, fmt.Errorf("read what micro prints: %w", err)
				}
				if values[name] == nil {
					names = append(names, name)
					values[name] = make([][]float64, len(arrangements))
				}
				values[name][which] = append(values[name][which], value)
			}
		}
	}
	t := table{Title: "Inside a container with RuntimeDefault seccomp", Unit: "ns a call"}
	for _, name := range names {
		t.Rows = append(t.Rows, newRow(name, []string{"shimward absent", "an empty program", "guarded neighbour", "guarded"},
			[]float64{1, 0, 1.02, 1.05}, values[name]))
	}
	return t, nil
}

// absent runs the program under stock runc, with shimward's programs not loaded into the kernel.
func (b *bench) absent(ctx context.Context, spec node.Spec) (string, error) {
	if err := b.unload(); err != nil {
		return "", err
	}
	return b.output(ctx, stock(spec))
}

// unload removes shimward's programs from the kernel.
func (b *bench) unload() error {
	loaded, err := filepath.Glob(filepath.Join(b.node.Paths.BPF, "node-*"))
	if err != nil {
		return err
	}
	for _, dir := range loaded {
		// Only its pins hold a program, and without a container none is in use.
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("unload shimward: %w", err)
		}
	}
	return nil
}

func (b *bench) neighbour(ctx context.Context, spec node.Spec) (_ string, err error) {
	neighbour, err := b.node.RunDetached(ctx, guarded(node.Spec{DefaultSeccomp: true}))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, neighbour.Delete(ctx)) }()
	return b.output(ctx, stock(spec))
}

func (b *bench) guarded(ctx context.Context, spec node.Spec) (string, error) {
	return b.output(ctx, guarded(spec))
}

func (b *bench) output(ctx context.Context, spec node.Spec) (string, error) {
	result, err := b.node.Run(ctx, spec)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("micro failed: %s", result)
	}
	return result.Stdout, err
}

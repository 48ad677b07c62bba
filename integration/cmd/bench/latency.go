package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// samples is the number of accesses per round when measuring the time until their events.
const samples = 100

// latency measures how long after a refused access its event can be read from the store: with
// nothing else on the node, and next to another container that makes refused attempts as fast as it
// can.
func (b *bench) latency(ctx context.Context) (_ table, err error) {
	victim, err := b.victim(ctx)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, victim.Delete(ctx)) }()
	of := samples * b.rounds
	t := table{Title: fmt.Sprintf("From an access to its event on disk, of %d each", of), Unit: "ms"}
	for _, vector := range []string{"process-vm-readv", "proc-mem-read"} {
		var took [2][]float64
		for i, beside := range []func(context.Context, *node.Container) (func() error, error){b.nobody, b.flooder} {
			fmt.Fprintf(b.progress, "the time to an event of %s, arrangement %d of 2\n", vector, i+1)
			stop, err := beside(ctx, victim)
			if err != nil {
				return table{}, err
			}
			took[i], err = b.timeToEvents(ctx, victim, vector, of)
			if err = errors.Join(err, stop()); err != nil {
				return table{}, err
			}
		}
		for _, q := range []float64{0.5, 0.99} {
			values := [][]float64{{quantile(took[0], q)}, {quantile(took[1], q)}}
			t.Rows = append(t.Rows, newRow(fmt.Sprintf("%s, p%.0f", vector, q*100), []string{"alone", "beside a flood"}, nil, values))
		}
	}
	return t, nil
}

func (b *bench) nobody(context.Context, *node.Container) (func() error, error) {
	return func() error { return nil }, nil
}

// flooder starts a container that attacks until it is stopped.
func (b *bench) flooder(ctx context.Context, victim *node.Container) (stop func() error, err error) {
	spec := guarded(b.attacker(node.Spec{}, victim))
	spec.Args = []string{"/bin/shimward", "emulate", "flood", "--attempts=2000000000", fmt.Sprintf("--threads=%d", floodThreads)}
	c, err := b.node.RunDetached(ctx, spec)
	if err != nil {
		return nil, err
	}
	return func() error { return c.Delete(ctx) }, nil
}

// ofOne is the maximum time between events of the same attacker. Later than that, the kernel may
// have reused its pid.
const ofOne = time.Second

// timeToEvents performs the given number of attacks, each from a new process of one container, and
// returns how long each event took to appear, in milliseconds.
func (b *bench) timeToEvents(ctx context.Context, victim *node.Container, vector string, attacks int) (_ []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attacker, err := b.node.RunDetached(ctx, guarded(b.attacker(node.Spec{}, victim)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, attacker.Delete(ctx)) }()
	log := &tail{folder: filepath.Join(b.node.Paths.Log, attacker.ID+"*")}
	defer log.close()
	loop := fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/shimward emulate --json %s >/dev/null; i=$((i+1)); done", attacks, vector)
	ended := make(chan error, 1)
	go func() {
		_, err := attacker.Exec(ctx, "attacks", "/bin/sh", "-c", loop)
		ended <- err
	}()
	var took []float64
	seen := map[int]time.Time{}
	var last time.Time // when the attacks ended
	for len(took) < attacks {
		lines, err := log.next()
		if err != nil {
			return nil, err
		}
		now := time.Now()
		for _, line := range lines {
			e, err := event.ParseLine(line)
			if err != nil || e.Access == nil {
				continue
			}
			if e.Time.Sub(seen[e.Access.Actor.PID]) < ofOne {
				continue // an attacker with two events counts as one sample
			}
			seen[e.Access.Actor.PID] = e.Time
			took = append(took, float64(now.Sub(e.Time).Microseconds())/1000)
		}
		select {
		case err := <-ended:
			if err != nil {
				return nil, err
			}
			last = now
		case <-time.After(500 * time.Microsecond):
		}
		if !last.IsZero() && now.Sub(last) > 30*time.Second {
			return nil, fmt.Errorf("%d attacks through %s have %d events", attacks, vector, len(took))
		}
	}
	return took, nil
}

// tail reads what is appended to a container's store, as soon as it is there.
type tail struct {
	folder string // a glob pattern
	file   *os.File
	rest   []byte
}

// next returns the complete lines that were appended since the last call, or nil.
func (t *tail) next() ([][]byte, error) {
	found, err := filepath.Glob(filepath.Join(t.folder, "events.jsonl"))
	if err != nil || len(found) != 1 {
		return nil, err // not created yet, or being rotated
	}
	current, err := os.Stat(found[0])
	if err != nil {
		return nil, nil //nolint:nilerr // being rotated
	}
	var opened os.FileInfo
	if t.file != nil {
		if opened, err = t.file.Stat(); err != nil {
			return nil, err
		}
	}
	// Read only after the Stat of the path, or what is written between the two would be lost.
	if err := t.fill(); err != nil {
		return nil, err
	}
	if opened == nil || !os.SameFile(opened, current) {
		t.close()
		if t.file, err = os.Open(found[0]); err != nil {
			t.file = nil
			return nil, nil //nolint:nilerr // rotated again
		}
		if err := t.fill(); err != nil {
			return nil, err
		}
	}
	end := bytes.LastIndexByte(t.rest, '\n')
	if end < 0 {
		return nil, nil
	}
	lines := bytes.Split(bytes.Clone(t.rest[:end]), []byte{'\n'})
	t.rest = append(t.rest[:0], t.rest[end+1:]...)
	return lines, nil
}

func (t *tail) fill() error {
	if t.file == nil {
		return nil
	}
	more, err := io.ReadAll(t.file)
	t.rest = append(t.rest, more...)
	return err
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}

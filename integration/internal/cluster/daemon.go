package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// daemon is one of the cluster's processes.
type daemon struct {
	name    string
	process *os.Process
	log     string
	exited  chan struct{}
	err     error // of Wait; set before exited is closed
}

// start starts one of the cluster's binaries. Each start appends to the same log.
func (c *Cluster) start(ctx context.Context, name string, args ...string) (*daemon, error) {
	d := &daemon{name: name, log: c.path("log", name+".log"), exited: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(d.log), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of logs: %w", err)
	}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy
	// The process outlives the context in which it is started; stop ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(c.options.Kubernetes, name), args...) //nolint:gosec // one of the cluster's binaries
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	d.process = cmd.Process
	go func() {
		defer close(d.exited)
		d.err = cmd.Wait()
	}()
	c.daemons = append(c.daemons, d)
	return d, nil
}

// stop ends the process and waits for it. It is an error if the process has already ended by
// itself.
func (d *daemon) stop(ctx context.Context) error {
	select {
	case <-d.exited:
		return d.died()
	default:
	}
	_ = d.process.Signal(unix.SIGTERM)
	select {
	case <-d.exited:
		return nil
	case <-ctx.Done():
		_ = d.process.Kill()
		<-d.exited
		return fmt.Errorf("%s did not end on SIGTERM", d.name)
	}
}

func (d *daemon) died() error {
	log, err := os.ReadFile(d.log)
	return errors.Join(fmt.Errorf("%s ended by itself: %w\n%s", d.name, d.err, tail(log)), err)
}

// tail returns the end of a log, which is enough to find a cause.
func tail(log []byte) []byte {
	const enough = 4 << 10
	return log[max(0, len(log)-enough):]
}

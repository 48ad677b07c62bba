package ociruntime

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/files"
)

// starting is an exec that the runtime is about to start.
type starting struct {
	process *container.Process
	started func(pid int) // tells the container's origins
}

// expect notes an exec. Its process is known by its parent, the runtime, or, where
// that has gone on before it was asked for, by what the runtime has written down.
func (m *monitor) expect(ctx context.Context, message hooks.Message) {
	runtime, err := openProcess(message.PID)
	if err != nil {
		return // it is gone
	}
	exec := &starting{
		process: m.hosted.Announce(message.Exec, message.Args),
		started: m.hosted.Starting(message.Exec),
	}
	m.mu.Lock()
	m.execs[message.PID] = exec
	m.mu.Unlock()
	go func() {
		defer runtime.close()
		<-runtime.ended(ctx)
		if m.take(message.PID) != exec {
			return
		}
		if pid := readPID(message.PIDFile); pid > 0 {
			m.enter(ctx, exec, pid)
			return
		}
		exec.started(0) // it failed
		exec.process.Forget()
	}()
}

// take takes the exec that a process of the runtime's is to start, or nil.
func (m *monitor) take(runtime int) *starting {
	m.mu.Lock()
	defer m.mu.Unlock()
	exec := m.execs[runtime]
	delete(m.execs, runtime)
	return exec
}

// attached is told of each process that the runtime starts, before the listener
// serves its calls. Its init is known otherwise.
func (m *monitor) attached(pid int) {
	parent, err := container.ParentOf(pid)
	if err != nil {
		return
	}
	if exec := m.take(parent); exec != nil {
		m.enter(context.Background(), exec, pid)
	}
}

// enter records that an exec's process has been started, and, once that is so, that it has ended.
func (m *monitor) enter(ctx context.Context, exec *starting, pid int) {
	p, err := openProcess(pid)
	exec.started(pid)
	exec.process.RecordStart(ctx, pid)
	if err != nil {
		return // it has ended, and nobody knows how
	}
	go func() {
		defer p.close()
		<-p.ended(ctx)
		exec.process.RecordExit(pid, p.code(ctx), time.Now())
		exec.process.Forget()
	}()
}

// readPID is the pid in a file of the runtime's, or 0.
func readPID(path string) int {
	const digits = 16
	if path == "" {
		return 0
	}
	raw, err := files.Read(path, digits)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

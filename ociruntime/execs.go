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
	started func(pid int) // updates the container's origins
}

// expect registers an exec. Its process is recognised by its parent, the runtime or, if the runtime
// ends before that, by the pid file that it wrote.
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
		exec.started(0) // the exec failed
		exec.process.Forget()
	}()
}

// take removes and returns the exec that a runtime process is to start, or nil.
func (m *monitor) take(runtime int) *starting {
	m.mu.Lock()
	defer m.mu.Unlock()
	exec := m.execs[runtime]
	delete(m.execs, runtime)
	return exec
}

// attached is called with each process that the runtime starts, before the listener serves its
// calls. The container's init is found in another way.
func (m *monitor) attached(pid int) {
	parent, err := container.ParentOf(pid)
	if err != nil {
		return
	}
	if exec := m.take(parent); exec != nil {
		m.enter(context.Background(), exec, pid)
	}
}

// enter records the start of an exec's process and, later, its exit.
func (m *monitor) enter(ctx context.Context, exec *starting, pid int) {
	p, err := openProcess(pid)
	exec.started(pid)
	exec.process.RecordStart(ctx, pid)
	if err != nil {
		return // it has ended, with an unknown status
	}
	go func() {
		defer p.close()
		<-p.ended(ctx)
		exec.process.RecordExit(pid, p.code(ctx), time.Now())
		exec.process.Forget()
	}()
}

// readPID returns the pid in a file that the runtime wrote, or 0.
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

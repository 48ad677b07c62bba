package ociruntime

import (
	"context"
	"time"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/hooks"
)

// starting is an exec that the runtime is about to start.
type starting struct {
	id      string
	started func(pid int) // tells the container's origins
}

// expect notes an exec. Its process is known by its parent, the runtime.
func (m *monitor) expect(ctx context.Context, message hooks.Message) {
	runtime, err := openProcess(message.PID)
	if err != nil {
		return // it is gone
	}
	m.hosted.Announce(message.Exec, message.Args)
	exec := &starting{id: message.Exec, started: m.hosted.Starting(message.Exec)}
	m.mu.Lock()
	m.execs[message.PID] = exec
	m.mu.Unlock()
	go func() {
		defer runtime.close()
		<-runtime.ended(ctx)
		if m.take(message.PID) == exec {
			exec.started(0) // it failed
			m.hosted.Forget(exec.id)
		}
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
	exec := m.take(parent)
	if exec == nil {
		return // not started through shimward
	}
	exec.started(pid)
	ctx := context.Background()
	m.hosted.RecordStart(ctx, exec.id, pid)
	p, err := openProcess(pid)
	if err != nil {
		return
	}
	go func() {
		defer p.close()
		<-p.ended(ctx)
		m.hosted.RecordExit(exec.id, pid, p.code(ctx), time.Now())
		m.hosted.Forget(exec.id)
	}()
}

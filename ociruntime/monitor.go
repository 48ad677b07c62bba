package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/container"
	"github.com/shimward/shimward/hooks"
)

// monitor hosts one container. All messages and observations are handled by a single goroutine,
// that of live.
type monitor struct {
	order   order
	planned *container.Planned
	hosted  *container.Container
	undo    container.Cleanup
	said    chan saying

	runtime *process    // the process that creates the container
	init    *process    // nil before it is created
	before  os.FileInfo // init's executable before it is started
	existed bool        // the runtime already had a container of this ID
	created bool        // the creation is recorded
	started bool        // the start is recorded

	mu    sync.Mutex
	execs map[int]*starting // guarded by mu; by the pid of the runtime process
}

// saying is a message to a monitor. done receives one error, or nil.
type saying struct {
	hooks.Message

	done chan error
}

// How often to check whether the runtime still has the state of an ended container: soon after its
// end, and later. The poststop hook announces the deletion, but a runtime that is killed may not
// get to run it.
const (
	statePollSoon = 20 * time.Millisecond
	statePoll     = 2 * time.Second
)

// Monitor hosts a container from before the runtime creates it until it is deleted. It reads its
// order from stdin, and answers once on stdout.
func Monitor(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if err := closeInherited(); err != nil {
		return err
	}
	logToSyslog()
	m := &monitor{said: make(chan saying), execs: map[int]*starting{}}
	reconcile := func() {}
	defer func() { reconcile() }()
	// Whatever was made and is not released by then is undone.
	defer m.undo.Run()
	server, err := m.prepare(ctx, stdin)
	said := answer{}
	if err != nil {
		said.Error = err.Error()
	}
	if err := errors.Join(err, json.NewEncoder(stdout).Encode(said), silence()); err != nil {
		return err
	}
	defer m.runtime.close()
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ctx, func(message hooks.Message) error { return m.told(ctx, message) }) })
	reconcile = container.ReconcileLater(ctx, m.order.Config)
	m.live(ctx)
	cancel()
	serving.Wait() // let the last answer reach its recipient
	return nil
}

// prepare makes everything that the container needs before its runtime is started.
func (m *monitor) prepare(ctx context.Context, stdin io.Reader) (_ *hooks.Server, err error) {
	if err := json.NewDecoder(io.LimitReader(stdin, maxOrder)).Decode(&m.order); err != nil {
		return nil, fmt.Errorf("read the monitor's order: %w", err)
	}
	m.runtime, err = openProcess(m.order.Parent)
	if err != nil {
		return nil, err
	}
	if os.Getppid() != m.order.Parent {
		return nil, errors.New("the runtime ended before its container's monitor was ready")
	}
	_, statErr := os.Lstat(filepath.Join(m.order.Root, m.order.ID))
	m.existed = !errors.Is(statErr, fs.ErrNotExist)
	m.planned, err = container.Plan(m.order.request(m.attached))
	if err != nil {
		return nil, err
	}
	if m.planned.Off() {
		return nil, errors.New("shimward's config was changed while the container was being created: create it again")
	}
	if err := m.planned.Vacant(ctx); err != nil {
		return nil, err
	}
	m.hosted, err = m.planned.Guard(ctx, &m.undo)
	if err != nil {
		return nil, err
	}
	server, err := hooks.Listen(m.planned.Plan.Paths.Host(m.planned.Plan.Identity.Key))
	if err != nil {
		return nil, err
	}
	m.undo.Add(server.Close)
	return server, nil
}

// live follows the container through its life.
func (m *monitor) live(ctx context.Context) {
	runtimeEnded := m.runtime.ended(ctx)
	var initEnded <-chan struct{}
	started := make(chan bool, 1)
	var poll <-chan time.Time
	var ended time.Time
	for {
		select {
		case s := <-m.said:
			switch s.What {
			case hooks.MessageCreated:
				attached := m.init != nil // runc before 1.2 runs the hooks of a container without a mount namespace twice
				err := m.attach(s.State)
				if err == nil && !attached {
					initEnded = m.init.ended(ctx)
					go func() { started <- m.hosted.AwaitStart(ctx, m.before) }()
				}
				s.done <- err
			case hooks.MessageStart:
				m.start(ctx)
				s.done <- nil
			case hooks.MessageExec:
				err := m.hosted.Intact() // the runtime sends the process's listener to whoever owns the socket
				if err != nil {
					err = fmt.Errorf("somebody removed or replaced the container's state: %w", err)
				} else {
					m.expect(ctx, s.Message)
				}
				s.done <- err
			case hooks.MessageStopped:
				err := container.AwaitEmpty(ctx, m.populated)
				if err == nil {
					m.finish(ctx)
				}
				s.done <- err
				if err == nil {
					return
				}
			default:
				s.done <- fmt.Errorf("this monitor does not know the message %q", s.What)
			}
		case <-runtimeEnded:
			runtimeEnded = nil
			switch {
			case m.init == nil:
				m.refuse(ctx)
				return // the runtime failed, and has reported why
			case !m.started && !m.known(ctx):
				m.abort(ctx) // the runtime was killed in the middle of the creation
				return
			case initEnded != nil:
				m.recordCreated()
			}
		case ran := <-started:
			if ran || m.hosted.Armed() {
				m.start(ctx)
			}
		case <-initEnded:
			initEnded = nil
			m.recordEnd(ctx)
			ended = time.Now()
			poll = time.After(0)
		case <-poll:
			if m.deleted() && !m.populated() {
				m.planned.CleanCgroups(ctx)
				m.finish(ctx)
				return
			}
			poll = time.After(min(statePoll, max(time.Since(ended)/10, statePollSoon)))
		case <-ctx.Done():
			// The guard stays in place and the container's calls fail: fail closed, not open.
			m.undo.Release()
			m.hosted.Close()
			return
		}
	}
}

// attach puts the container under guard, and takes it over, as its createRuntime hook asks.
func (m *monitor) attach(state *hooks.State) error {
	if err := m.hosted.Enrol(state); err != nil || m.init != nil {
		return err
	}
	init, err := openProcess(state.PID)
	if err != nil {
		return err
	}
	if err := m.hosted.Attach(state.PID); err != nil {
		init.close()
		return err
	}
	m.undo.Add(init.close)
	m.init = init
	m.before, err = m.hosted.InitProgram()
	return err
}

func (m *monitor) recordCreated() {
	if !m.created {
		m.created = true
		m.hosted.RecordCreated()
	}
}

// start records that init is started, and ensures that its program runs under guard.
func (m *monitor) start(ctx context.Context) {
	if m.started || m.init == nil {
		return
	}
	m.started = true
	m.recordCreated()
	m.hosted.Process("").RecordStart(ctx, m.init.pid)
	m.hosted.Watch(m.before, func(context.Context) error { return m.kill() })
}

// kill kills all processes of the container.
func (m *monitor) kill() error {
	err := os.WriteFile(filepath.Join(m.hosted.Where().Cgroup, "cgroup.kill"), []byte("1"), 0)
	return errors.Join(err, unix.PidfdSendSignal(int(m.init.file.Fd()), unix.SIGKILL, nil, 0))
}

// recordEnd records that init has ended.
func (m *monitor) recordEnd(ctx context.Context) {
	if m.started {
		m.hosted.Process("").RecordExit(m.init.pid, m.init.code(ctx), time.Now())
	}
}

// finish releases a deleted container. One that was never fully created leaves no events.
func (m *monitor) finish(ctx context.Context) {
	if m.created {
		m.recordEnd(ctx)
		m.hosted.NoteDropped()
		m.hosted.Finish(ctx)
		m.undo.Release()
		m.init.close()
	} else {
		m.undo.Run()
	}
	if err := m.planned.PutBack(); err != nil {
		logger(ctx, &m.order).WithError(err).Warn("shimward: put the container's spec back")
	}
}

// refuse deletes a container that the runtime created without running the hook, that is, from
// another spec than the one written for it.
func (m *monitor) refuse(ctx context.Context) {
	if m.known(ctx) && !m.existed {
		logger(ctx, &m.order).Error("shimward: the container was created from another spec than shimward's and is not guarded: it is deleted")
		cmd := exec.CommandContext(ctx, m.order.Runc, "--root", m.order.Root, "delete", "--force", m.order.ID) //nolint:gosec // the configured runtime
		if out, err := cmd.CombinedOutput(); err != nil {
			logger(ctx, &m.order).WithError(err).Errorf("shimward: delete the container that is not guarded: %s", out)
		}
	}
}

// known reports whether the runtime has the container. It does not if it was killed while creating
// it; init is then waiting for the runtime, or about to end.
func (m *monitor) known(ctx context.Context) bool {
	if _, err := os.Stat(filepath.Join(m.order.Root, m.order.ID, "state.json")); err == nil {
		return true // runc's state file
	}
	cmd := exec.CommandContext(ctx, m.order.Runc, "--root", m.order.Root, "state", m.order.ID) //nolint:gosec // the configured runtime
	return cmd.Run() == nil
}

// abort undoes a container that was never fully created.
func (m *monitor) abort(ctx context.Context) {
	if err := m.kill(); err != nil && !errors.Is(err, unix.ESRCH) {
		logger(ctx, &m.order).WithError(err).Warn("shimward: kill what a killed runtime left")
	}
	m.undo.Run()
}

// populated reports whether the container has processes left.
func (m *monitor) populated() bool {
	where := m.hosted.Where()
	return m.init != nil && where.Populated()
}

// deleted reports whether the runtime no longer has state of the container: runc keeps it in a
// folder named after the container.
func (m *monitor) deleted() bool {
	_, err := os.Stat(filepath.Join(m.order.Root, m.order.ID))
	return errors.Is(err, fs.ErrNotExist)
}

// told hands a message to live, and returns what comes of it.
func (m *monitor) told(ctx context.Context, message hooks.Message) error {
	s := saying{Message: message, done: make(chan error, 1)}
	select {
	case m.said <- s:
		return <-s.done // live answers all that it takes, the last as it ends
	case <-ctx.Done():
		return hooks.ErrNoHost
	}
}

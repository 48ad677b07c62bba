package seccomp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ListenOptions configures a [Listener], apart from its socket's path.
type ListenOptions struct {
	Residue *Residue // what Merge returned
	// Workers is the number of calls that are decided concurrently; further callers wait. 0 means
	// 32.
	Workers int
	// SharesFiles reports whether another task has the same descriptor table as a waiting one, and
	// so could replace a descriptor. If it is not set, every task is taken to share.
	SharesFiles func(tid int) bool
	// Attached, if set, is called with each process that the runtime starts, before any of its
	// calls is served, and from several goroutines. An error rejects the process: all its calls get
	// ENOSYS.
	Attached func(*specs.ContainerProcessState) error
	// Ended, if set, is called with each process whose calls, and those of its descendants, are no
	// longer answered although they live, so that they get ENOSYS. It is called from several
	// goroutines.
	Ended func(process int, err error)
	// Report, if set, is called with errors that cannot be returned to any caller, from several
	// goroutines.
	Report func(error)
}

// Listener answers the notifications of one container's processes.
type Listener struct {
	options ListenOptions
	socket  *net.UnixListener
	residue *residue
	workers chan struct{}
	proc    procfs
	slow    sync.Mutex // see resolver
	seen    seen

	mu      sync.Mutex
	closed  bool                // guarded by mu
	closers map[closer]struct{} // guarded by mu: open connections and notify files
	running sync.WaitGroup      // guarded by mu when it is incremented
}

type closer interface{ Close() error }

// handshake is how long the runtime has to send its message.
const handshake = 5 * time.Second

const (
	defaultWorkers = 32
	maxSocketPath  = len(unix.RawSockaddrUnix{}.Path) - 1
)

// Listen creates the socket that the runtime sends notify descriptors to, with mode 0600 in a
// folder of mode 0700, which it creates if missing. It replaces a socket that an earlier shim left
// at that path.
func Listen(path string, o ListenOptions) (*Listener, error) {
	if err := supported(); err != nil {
		return nil, fmt.Errorf("listen for seccomp notifications: %w", err)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen for seccomp notifications: the socket's path %s is longer than %d bytes: choose a shorter paths.run in the config", path, maxSocketPath)
	}
	residue, err := newResidue(o.Residue)
	if err != nil {
		return nil, fmt.Errorf("listen for seccomp notifications: %w", err)
	}
	if err := privateFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("listen for seccomp notifications: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen for seccomp notifications: remove the old socket: %w", err)
		}
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for seccomp notifications: %w", err)
	}
	// Until then, the folder's mode keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("listen for seccomp notifications: %w", err)
	}
	if o.Workers <= 0 {
		o.Workers = defaultWorkers
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if o.SharesFiles == nil {
		o.SharesFiles = func(int) bool { return true }
	}
	if o.Ended == nil {
		o.Ended = func(int, error) {}
	}
	return &Listener{
		options: o, socket: socket, residue: residue, proc: "/proc",
		workers: make(chan struct{}, o.Workers), closers: map[closer]struct{}{},
	}, nil
}

func privateFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the socket's folder: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("the socket's folder %s can be entered by others (mode %#o): chmod 0700 it", path, info.Mode().Perm())
	}
	return nil
}

// Serve answers notifications until ctx is done or the Listener is closed. When it returns, all its
// goroutines have ended, the socket is gone and callers get ENOSYS.
func (l *Listener) Serve(ctx context.Context, decider Decider) {
	ctx, cancel := context.WithCancel(ctx)
	defer l.running.Wait()
	defer cancel() // before running.Wait: a Decider may wait for it
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.socket.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Most likely out of descriptors. Without a listener the container's calls fail with
			// ENOSYS, so keep trying, but not in a busy loop.
			l.options.Report(fmt.Errorf("accept a connection of the runtime: %w", err))
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if !l.open(conn) {
			return
		}
		go func() {
			defer l.running.Done()
			if err := l.attach(ctx, conn, decider); err != nil && !l.isClosed() {
				l.options.Report(fmt.Errorf("seccomp listener: %w", err))
			}
		}()
	}
}

// attach serves one connection: the process that it announces, until the last task with its filter
// is gone.
func (l *Listener) attach(ctx context.Context, conn *net.UnixConn, decider Decider) error {
	state, file, err := l.receive(conn)
	l.forget(conn)
	if err != nil {
		return err
	}
	if !l.open(file) {
		return nil
	}
	defer l.running.Done()
	defer l.forget(file)
	if l.options.Attached != nil {
		if err := l.options.Attached(state); err != nil {
			return fmt.Errorf("process %d: %w", state.Pid, err)
		}
	}
	if err := newSession(l, file, state.Pid, decider).serve(ctx); err != nil && !l.isClosed() {
		l.options.Ended(state.Pid, err)
	}
	return nil
}

func (l *Listener) receive(conn *net.UnixConn) (*specs.ContainerProcessState, *os.File, error) {
	if err := fromRoot(conn); err != nil {
		return nil, nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(handshake)); err != nil {
		return nil, nil, fmt.Errorf("set a deadline: %w", err)
	}
	state, file, err := receiveState(conn)
	if err != nil {
		return nil, nil, err
	}
	file, err = notifyFile(file)
	return state, file, err
}

// Close ends the Listener: waiting and later callers get ENOSYS. It may be called more than once.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for c := range l.closers {
		_ = c.Close()
	}
	clear(l.closers)
	if err := l.socket.Close(); err != nil { // also removes the socket's file
		return fmt.Errorf("close the seccomp listener: %w", err)
	}
	return nil
}

func (l *Listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// open registers c and increments running. If the Listener is closed, it closes c and returns
// false.
func (l *Listener) open(c closer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return false
	}
	l.closers[c] = struct{}{}
	l.running.Add(1)
	return true
}

func (l *Listener) forget(c closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.closers, c)
	_ = c.Close()
}

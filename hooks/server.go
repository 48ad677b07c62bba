package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/relay"
)

// Server receives what a container's hooks, and `shimward runc`, tell the container's host.
type Server struct {
	socket    *net.UnixListener
	answering sync.WaitGroup

	mu     sync.Mutex
	open   int             // guarded by mu; the connections
	silent []*net.UnixConn // guarded by mu; those whose message has not been read, the oldest first
}

const (
	// saidWithin is how long a client may take to send its message.
	saidWithin = 5 * time.Second
	// maxOpen is the maximum number of connections. A container has two hooks and some execs.
	maxOpen = 64
)

// Listen creates the socket of a container's host, accessible only to root.
func Listen(path string) (*Server, error) {
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the container's hooks: %w", err)
	}
	// Its folder is accessible only to root, too.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the container's hooks: %w", err), socket.Close())
	}
	return &Server{socket: socket}, nil
}

// Close ends Serve, or releases a server that is not served.
func (s *Server) Close() { _ = s.socket.Close() }

// Serve answers every message with the result of act, until ctx is done. Then it waits until what it has
// given to act is answered, and returns. Several goroutines call act. A message for which act returns
// ErrNoHost gets no answer.
func (s *Server) Serve(ctx context.Context, act func(Message) error) {
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	defer s.answering.Wait()
	defer s.hangUp(0)
	for {
		conn, err := s.socket.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // most likely out of descriptors
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		if !s.admit(conn) {
			_ = conn.Close()
			continue
		}
		s.answering.Go(func() { s.answer(ctx, conn, act) })
	}
}

// admit takes a connection in. If there are too many, it closes the oldest that has said nothing; it
// returns false if all have.
func (s *Server) admit(conn *net.UnixConn) bool {
	s.hangUp(maxOpen - 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open-len(s.silent) >= maxOpen {
		return false
	}
	s.open++
	s.silent = append(s.silent, conn)
	return true
}

// hangUp closes connections that have said nothing, the oldest first, while there are more than most
// connections of any kind.
func (s *Server) hangUp(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > most && len(s.silent) > 0 {
		_ = s.silent[0].Close()
		s.silent = slices.Delete(s.silent, 0, 1)
		s.open--
	}
}

// heard says that a connection's message has been read. It returns false if the connection has been
// closed.
func (s *Server) heard(conn *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.silent, conn)
	if at < 0 {
		return false
	}
	s.silent = slices.Delete(s.silent, at, at+1)
	return true
}

func (s *Server) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

func (s *Server) answer(ctx context.Context, conn *net.UnixConn, act func(Message) error) {
	defer conn.Close() //nolint:errcheck // the other end has its answer, or has gone
	message, err := read(conn)
	if !s.heard(conn) {
		return
	}
	defer s.over()
	if errors.Is(err, errNothing) || ctx.Err() != nil {
		return
	}
	if err == nil {
		err = act(message)
	}
	var reply relay.Reply
	switch {
	case errors.Is(err, ErrNoHost):
		return
	case err != nil:
		reply.Error = err.Error()
	}
	if err := conn.SetWriteDeadline(time.Now().Add(saidWithin)); err != nil {
		return
	}
	_ = json.NewEncoder(conn).Encode(reply)
}

// errNothing says that there was no message: somebody only checked whether the host is there, or is not
// entitled to ask.
var errNothing = errors.New("no message")

func read(conn *net.UnixConn) (m Message, err error) {
	if !fromRoot(conn) || conn.SetReadDeadline(time.Now().Add(saidWithin)) != nil {
		return m, errNothing
	}
	limited := &io.LimitedReader{R: conn, N: relay.MaxMessage}
	err = json.NewDecoder(limited).Decode(&m)
	switch {
	case err == nil:
		return m, nil
	case limited.N == relay.MaxMessage: // the end, or the deadline, came first
		return m, errNothing
	case limited.N <= 0:
		return m, fmt.Errorf("the message to the container's host has more than %d bytes", relay.MaxMessage)
	default:
		return m, fmt.Errorf("parse the message to the container's host: %w", err)
	}
}

// fromRoot reports whether the peer is root.
func fromRoot(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return controlErr == nil && err == nil && peer.Uid == 0
}

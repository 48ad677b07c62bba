package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/hooks"
)

// saying is a message to a monitor. done receives one error, or nil.
type saying struct {
	hooks.Message

	done chan error
}

// server receives a monitor's messages from the hooks and from `shimward runc`.
type server struct {
	socket    *net.UnixListener
	answering sync.WaitGroup
}

const (
	// maxMessage is the maximum size of one message, in bytes: it may include an exec's command
	// line.
	maxMessage = 1 << 20
	// saidWithin is how long a client may take to send its message.
	saidWithin = 5 * time.Second
)

// listen creates a monitor's socket, accessible only to root.
func listen(path string) (*server, error) {
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the container's hooks: %w", err)
	}
	// Its folder is accessible only to root, too.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the container's hooks: %w", err), socket.Close())
	}
	return &server{socket: socket}, nil
}

func (s *server) close() { _ = s.socket.Close() }

// serve forwards messages to said until ctx is done.
func (s *server) serve(ctx context.Context, said chan<- saying) {
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
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
		s.answering.Go(func() { answerOne(ctx, conn, said) })
	}
}

func answerOne(ctx context.Context, conn *net.UnixConn, said chan<- saying) {
	defer conn.Close() //nolint:errcheck // the other end has its answer, or has gone
	if !fromRoot(conn) {
		return
	}
	if err := conn.SetReadDeadline(time.Now().Add(saidWithin)); err != nil {
		return
	}
	s := saying{done: make(chan error, 1)}
	if err := json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&s.Message); err != nil {
		return // the client only checked whether the monitor is there
	}
	select {
	case said <- s:
	case <-ctx.Done():
		return
	}
	// Once taken, a message is answered: the monitor gives its last answer as it ends.
	var reply hooks.Reply
	if err := <-s.done; err != nil {
		reply.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(reply)
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

package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// Message is a message to a container's monitor, sent as one line of JSON to its socket
// (policy.Paths.Monitor).
type Message struct {
	What string `json:"what"`
	// PID is init's for MessageCreated, and that of the runtime's process for MessageExec.
	PID  int      `json:"pid,omitempty"`
	Exec string   `json:"exec,omitempty"` // for MessageExec: its ID
	Args []string `json:"args,omitempty"` // for MessageExec
	// PIDFile, for MessageExec, is the absolute path of the file to which the runtime writes the
	// pid of the process that it has started, if there is such a file.
	PIDFile string `json:"pid_file,omitempty"`
}

// The values of Message.What.
const (
	MessageCreated = "created" // the container's init is enrolled, and waits
	MessageStart   = "start"   // its init is about to run its program
	MessageExec    = "exec"    // another process is about to be started in it
	MessageStopped = "stopped" // it is being deleted, and its processes are gone
)

// Reply is the monitor's reply, sent as one line of JSON.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// tellTimeout bounds the wait for a monitor: the monitor stores what it has of a container, and has
// to wait for the disk.
const tellTimeout = 20 * time.Second

// ErrNoMonitor is returned by Tell if nobody is at the other end. A slow monitor is still there,
// and nobody else may release what it has.
var ErrNoMonitor = errors.New("the container's monitor is gone")

// Tell sends a message to a container's monitor, and waits until the monitor has acted on it.
func Tell(ctx context.Context, paths policy.Paths, key string, message Message) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", paths.Monitor(key))
	if err != nil {
		return untold(err)
	}
	defer conn.Close() //nolint:errcheck // what was to be said has been answered
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return untold(err)
		}
	}
	if err := json.NewEncoder(conn).Encode(message); err != nil {
		return untold(err)
	}
	var reply Reply
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return untold(err)
	}
	if reply.Error != "" {
		return errors.New(reply.Error)
	}
	return nil
}

// untold returns an error that says why a monitor did not answer. It wraps ErrNoMonitor if the
// monitor is gone.
func untold(err error) error {
	for _, gone := range []error{fs.ErrNotExist, unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: %w", ErrNoMonitor, err)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the container's monitor runs but does not answer, check the node's disk and load and try again: %w", err)
	}
	return fmt.Errorf("tell the container's monitor: %w", err)
}

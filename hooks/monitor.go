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

// Message is what a container's monitor is told, in one line of JSON on its
// socket (policy.Paths.Monitor).
type Message struct {
	What string `json:"what"`
	// PID of MessageCreated is init's; of MessageExec, that of the runtime's process.
	PID  int      `json:"pid,omitempty"`
	Exec string   `json:"exec,omitempty"` // of MessageExec: its ID
	Args []string `json:"args,omitempty"` // of MessageExec
	// PIDFile of MessageExec is the absolute path of the file that the runtime writes the
	// pid to of what it has started, if there is one.
	PIDFile string `json:"pid_file,omitempty"`
}

// What a monitor is told.
const (
	MessageCreated = "created" // the container's init is enrolled, and waits
	MessageStart   = "start"   // its init is about to run its program
	MessageExec    = "exec"    // another process is about to be started in it
	MessageStopped = "stopped" // it is being deleted, its processes are gone
)

// Reply is a monitor's, in one line of JSON.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// tellTimeout bounds how long a monitor is waited for: it stores what it has of a
// container, and has to wait for the disk.
const tellTimeout = 20 * time.Second

// ErrNoMonitor is what Tell returns where nobody is at the other end. A monitor that
// is slow is there: what it has is not anybody else's to let go.
var ErrNoMonitor = errors.New("the container's monitor is gone")

// Tell tells a container's monitor something, and waits until it has done what
// there is to do about it.
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

// untold says why a monitor did not answer.
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

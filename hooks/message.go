package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shimward/shimward/internal/relay"
	"github.com/shimward/shimward/policy"
)

// Message is a message to the process that hosts a container, sent as one line of JSON to its socket
// (policy.Paths.Host).
type Message struct {
	What string `json:"what"`
	// State is the runtime's, for MessageCreated and MessageStopped. Those who need none may leave it
	// out of MessageStopped.
	State *State   `json:"state,omitempty"`
	PID   int      `json:"pid,omitempty"`  // for MessageExec: that of the runtime's process
	Exec  string   `json:"exec,omitempty"` // for MessageExec: its ID
	Args  []string `json:"args,omitempty"` // for MessageExec
	// PIDFile, for MessageExec, is the absolute path of the file to which the runtime writes the
	// pid of the process that it has started, if there is such a file.
	PIDFile string `json:"pid_file,omitempty"`
}

// The values of Message.What. A monitor gets all of them; a shim gets the hooks', because containerd
// tells it the rest.
const (
	MessageCreated = relay.Created // the container's init exists, and waits
	MessageStart   = "start"       // its init is about to run its program
	MessageExec    = "exec"        // another process is about to be started in it
	MessageStopped = relay.Stopped // it is being deleted, and its processes are gone
)

// State is the part of a runtime-spec state that shimward needs (runtime-spec, "State"); the runtime
// writes it to a hook's stdin.
type State struct {
	ID     string `json:"id"`
	PID    int    `json:"pid"`
	Bundle string `json:"bundle"`
}

// ParseState parses what the runtime has given a hook.
func ParseState(text []byte) (State, error) {
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("parse the container's state from the runtime: %w", err)
	}
	if s.ID == "" || !filepath.IsAbs(s.Bundle) {
		return s, fmt.Errorf("the runtime's state has id %q and bundle %q: shimward's hooks are started by an OCI runtime, which gives both, with an absolute bundle", s.ID, s.Bundle)
	}
	return s, nil
}

// tellTimeout bounds the wait for a host: it stores what it has of a container, and has to wait for the
// disk.
const tellTimeout = 20 * time.Second

// ErrNoHost is returned by Tell if nobody is at the other end. A slow host is still there, and nobody
// else may release what it has.
var ErrNoHost = relay.ErrNoHost

// Tell sends a message to a container's host, and waits until the host has acted on it. Of ctx, only the
// deadline counts.
func Tell(ctx context.Context, paths policy.Paths, key string, message Message) error {
	text, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("write a message to the container's host: %w", err)
	}
	within := tellTimeout
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline))
	}
	return relay.Host{Socket: paths.Host(key)}.Tell(append(text, '\n'), within)
}

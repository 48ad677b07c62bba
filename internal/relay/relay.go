// Package relay owns what the processes of shimward's two OCI hooks do: they pass what the runtime
// tells them on to the process that hosts the container, its shim or its monitor, and that process's
// answer to the runtime.
//
// A container waits for a hook's process to start, so this package imports nothing of shimward's, and
// neither eBPF nor the network. It does not interpret the container's state.
package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The names of the hooks.
const (
	NameCreateRuntime = "create-runtime"
	NamePoststop      = "poststop"
)

// The variables in a hook's environment that say who hosts the container.
const (
	EnvSocket = "SHIMWARD_SOCKET" // the host's socket
	EnvHost   = "SHIMWARD_HOST"   // the host's pid
)

// What the hooks say, in the field "what" of their messages.
const (
	Created = "created" // the container's init exists, and waits: put it under guard
	Stopped = "stopped" // the container is being deleted, and its processes are gone
)

// maxState is the maximum size of the state that the runtime gives a hook, in bytes. It has the
// container's annotations in it.
const maxState = 16 << 20

// MaxMessage is the maximum size of a message, in bytes.
const MaxMessage = maxState + 1<<10

// How long the hooks wait for the host. The runtime kills them a little later (package hooks), and
// that would fail a container's deletion. The first container after a boot waits for the kernel to
// verify the programs, and fifty others may wait for that one.
const (
	createdWithin = 50 * time.Second
	stoppedWithin = 20 * time.Second
)

// Hook is one run of a hook.
type Hook struct {
	Name   string
	Getenv func(string) string
	Stdin  io.Reader
	Log    io.Writer // for errors that do not fail the hook

	// Alone releases what a container had whose host is gone. It gets the state that was read from
	// Stdin.
	Alone func(state []byte) error
}

// Run runs the hook. An error of create-runtime aborts the container's creation, and the user sees its
// text. poststop never fails, because that would fail the container's deletion (runc 1.5 exits 1); it
// writes to Log what it could not do.
func (h *Hook) Run() error {
	switch h.Name {
	case NameCreateRuntime:
		return h.createRuntime()
	case NamePoststop:
		if err := h.poststop(); err != nil {
			fmt.Fprintln(h.Log, "shimward: release the container's guard:", err)
		}
		return nil
	default:
		return fmt.Errorf("no hook is called %q: there are %s and %s", h.Name, NameCreateRuntime, NamePoststop)
	}
}

// createRuntime has the container put under guard. At this point, its init exists and is in its cgroup,
// but runs no user code yet, and does not until this process has ended well.
func (h *Hook) createRuntime() error {
	state, err := h.state()
	if err != nil {
		return err
	}
	to, err := h.host()
	if err != nil {
		return err
	}
	err = to.tell(Created, state, createdWithin)
	if errors.Is(err, ErrNoHost) {
		return fmt.Errorf("nobody can put the container under guard, so it is not created, create it again: %w", err)
	}
	return err
}

func (h *Hook) poststop() error {
	state, err := h.state()
	if err != nil {
		return err
	}
	to, err := h.host()
	if err == nil {
		err = to.tell(Stopped, state, stoppedWithin)
	}
	if errors.Is(err, ErrNoHost) || errors.Is(err, errEarlier) {
		return h.Alone(state)
	}
	return err
}

// errEarlier says that the container's host is of a version whose hooks did not ask it for anything.
var errEarlier = errors.New("the container's shim is of an earlier version of shimward than this hook: recreate the pod, or the container if it has none")

// host returns the host that the hook's environment names.
func (h *Hook) host() (Host, error) {
	to := Host{Socket: h.Getenv(EnvSocket)}
	if to.Socket == "" {
		return to, errEarlier
	}
	pid, err := strconv.Atoi(h.Getenv(EnvHost))
	if err != nil || pid <= 0 {
		return to, fmt.Errorf("%s is %q in the hook's environment: shimward sets it to a pid", EnvHost, h.Getenv(EnvHost))
	}
	to.PID = pid
	return to, nil
}

// state reads the runtime's state of the container (runtime-spec, "State").
func (h *Hook) state() ([]byte, error) {
	state, err := io.ReadAll(io.LimitReader(h.Stdin, maxState+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the container's state from the runtime: %w", err)
	case len(state) > maxState:
		return nil, fmt.Errorf("the container's state from the runtime has more than %d MiB: make its annotations smaller", maxState>>20)
	case !json.Valid(state):
		return nil, errors.New("the container's state from the runtime is not JSON: shimward's hooks are started by an OCI runtime, with the state on standard input")
	}
	return state, nil
}

// Host is the process that hosts a container.
type Host struct {
	Socket string
	PID    int // 0 if it is not known
}

// Reply is a host's answer.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// tell sends a hook's message. The host parses the state.
func (h Host) tell(what string, state []byte, within time.Duration) error {
	text := make([]byte, 0, len(state)+64)
	text = append(text, `{"what":"`...)
	text = append(text, what...)
	text = append(text, `","state":`...)
	text = append(text, state...)
	text = append(text, "}\n"...)
	return h.Tell(text, within)
}

// Tell sends a message, one line of JSON, and waits until the host has acted on it. The error wraps
// ErrNoHost if there is no host any more.
func (h Host) Tell(message []byte, within time.Duration) error {
	raw, err := h.ask(message, time.Now().Add(within))
	if err != nil {
		return untold(err)
	}
	var reply Reply
	if err := json.Unmarshal(raw, &reply); err != nil {
		return fmt.Errorf("read the answer of the container's shim or monitor: %w", err)
	}
	if reply.Error != "" {
		return errors.New(reply.Error)
	}
	return nil
}

// full is the binary that has all of shimward in it. It is installed in the folder of the hooks' own.
const full = "shimward"

// ExecFull runs `shimward hook poststop` in this process's place.
func ExecFull(state []byte) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find shimward's own binary: %w", err)
	}
	if err := putBack(state); err != nil {
		return fmt.Errorf("pass the container's state on: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), full)
	err = unix.Exec(path, []string{full, "hook", NamePoststop}, os.Environ())
	return fmt.Errorf("the container's shim or monitor is gone, and %s, which does its part, cannot be started: "+
		"the next container that is created on the node releases the guard: %w", path, err)
}

// putBack makes state this process's standard input.
func putBack(state []byte) error {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	memory := os.NewFile(uintptr(fd), "state")
	if _, err := memory.Write(state); err != nil {
		return errors.Join(err, memory.Close())
	}
	if _, err := memory.Seek(0, io.SeekStart); err != nil {
		return errors.Join(err, memory.Close())
	}
	// The copy has no FD_CLOEXEC.
	return errors.Join(unix.Dup3(fd, int(os.Stdin.Fd()), 0), memory.Close())
}

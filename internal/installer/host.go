package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// source is the folder of shimward's binaries in the installer's image, as a command on the node
// finds it: through an inherited descriptor, because the image is not mounted in the node's
// namespace.
const source = "/proc/self/fd/3"

// host runs commands in the node's mount namespace.
type host struct {
	namespace      *os.File // the node's, held by a descriptor because the pid may be reused
	folder         *os.File // the folder of shimward's binaries, in the image
	address        string   // the socket of the containerd that runs this container; "" if not known
	stdout, stderr io.Writer
}

// newHost finds the node's mount namespace, and the folder of this binary. The namespace is that of
// this process's parent, the container's shim, which runs in containerd's mount namespace, wherever
// that is.
func newHost(stdout, stderr io.Writer) (*host, error) {
	parent := os.Getppid()
	if parent == 0 {
		return nil, errors.New("the node's processes cannot be seen: run this in a pod with hostPID: true")
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", parent))
	if err != nil {
		return nil, fmt.Errorf("find the node's mount namespace, which requires a privileged container: %w", err)
	}
	h, err := newHostIn(namespace, stdout, stderr)
	if err != nil {
		return nil, errors.Join(err, namespace.Close())
	}
	if arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parent)); err == nil {
		h.address = addressOf(string(arguments))
	}
	return h, nil
}

// addressOf returns the socket that containerd tells a shim to connect to, in the argument -address
// (containerd, pkg/shim), or "" if there is no such argument.
func addressOf(cmdline string) string {
	arguments := strings.Split(cmdline, "\x00")
	at := slices.Index(arguments, "-address")
	if at < 0 || at+1 == len(arguments) {
		return ""
	}
	return strings.TrimPrefix(arguments[at+1], "unix://")
}

func newHostIn(namespace *os.File, stdout, stderr io.Writer) (*host, error) {
	node, err := namespace.Stat()
	if err != nil {
		return nil, err
	}
	own, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return nil, err
	}
	if os.SameFile(node, own) {
		return nil, errors.New("this is not the first process of a container: in a pod, make it the container's command; on a node, use `shimward install`, `verify` and `uninstall`")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	folder, err := os.Open(filepath.Dir(self))
	if err != nil {
		return nil, fmt.Errorf("open the folder of shimward's binaries: %w", err)
	}
	return &host{namespace: namespace, folder: folder, stdout: stdout, stderr: stderr}, nil
}

func (h *host) close() error { return errors.Join(h.namespace.Close(), h.folder.Close()) }

// run runs a command that is found in the node's PATH, and returns its exit status. It is an error
// if the command could not be started, or was killed.
func (h *host) run(ctx context.Context, name string, args ...string) (int, error) {
	code := 0
	err := h.do(func() error {
		cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // shimward's own commands, with paths of the chart's values
		cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
		cmd.ExtraFiles = []*os.File{h.folder}
		cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
		err := cmd.Run()
		var exited *exec.ExitError
		if errors.As(err, &exited) && exited.Exited() {
			code, err = exited.ExitCode(), nil
		}
		if err != nil {
			return fmt.Errorf("%s on the node: %w", name, err)
		}
		return nil
	})
	return code, err
}

// do calls a function on a thread that is in the node's mount namespace.
func (h *host) do(call func() error) error {
	ended := make(chan error, 1)
	go func() {
		// Never unlocked: the thread cannot be used for anything else here, and ends with the
		// goroutine.
		runtime.LockOSThread()
		err := enter(h.namespace)
		if err == nil {
			err = call()
		}
		ended <- err
	}()
	return <-ended
}

// enter moves the calling thread, and processes that it starts, into a mount namespace.
func enter(namespace *os.File) error {
	// Threads share their root folder (CLONE_FS), and setns(2) fails for a thread that does.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave the process's root folder: %w", err)
	}
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the node's mount namespace, which requires a privileged container: %w", err)
	}
	return nil
}

package emulate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfPin opens a pinned map for reading and writing.
func bpfPin(path string) (int, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	attributes := struct {
		path      uint64
		fd, flags uint32
	}{path: uint64(uintptr(unsafe.Pointer(name)))} //nolint:gosec // what a system call takes are addresses
	fd, err := bpf(unix.BPF_OBJ_GET, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes)) //nolint:gosec // the same
	runtime.KeepAlive(name)
	return fd, err
}

// bpfLink opens the link that has the lowest id. To list ids is no access to anything.
func bpfLink() (int, error) {
	var attributes struct{ id, next, flags uint32 }
	_, err := bpf(unix.BPF_LINK_GET_NEXT_ID, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes)) //nolint:gosec // what a system call takes are addresses
	if errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("the node has no link: %w", unix.ENOSYS)
	}
	if err != nil {
		return -1, fmt.Errorf("looking for a link: %w", err)
	}
	attributes.id, attributes.next = attributes.next, 0
	return bpf(unix.BPF_LINK_GET_FD_BY_ID, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes)) //nolint:gosec // the same
}

func bpf(command uintptr, attributes unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attributes), size)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// shimName is what the kernel keeps of the names of containerd's shims.
const shimName = "containerd-shim"

// shimOf returns the pid of the shim that a process is below.
func shimOf(pid int) (int, error) {
	for at := pid; at > 0; {
		comm, err := os.ReadFile(filepath.Join(procDir(at), "comm"))
		if err != nil {
			return 0, err
		}
		if strings.TrimSpace(string(comm)) == shimName {
			return at, nil
		}
		parent, err := statusOf(at, "PPid")
		if err != nil {
			return 0, err
		}
		if at, err = strconv.Atoi(parent); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("no shim above process %d in this pid namespace, it takes the node's: %w", pid, unix.ENOSYS)
}

// statusOf returns a field of /proc/<pid>/status.
func statusOf(pid int, field string) (string, error) {
	status, err := os.ReadFile(filepath.Join(procDir(pid), "status"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("the status of process %d has no %s", pid, field)
}

// stops is how long a process may take to stop, even on emulated CPUs.
const stops = 20 * time.Second

// waitStopped waits until a process that was sent a SIGSTOP has stopped.
func waitStopped(pid int) error {
	look := time.NewTicker(pollEvery)
	defer look.Stop()
	for deadline := time.Now().Add(stops); time.Now().Before(deadline); <-look.C {
		state, err := statusOf(pid, "State")
		if err != nil {
			return err
		}
		if strings.HasPrefix(state, "T") {
			return nil
		}
	}
	return fmt.Errorf("process %d does not stop", pid)
}

package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	// maxMessage is the maximum size of the runtime's message, in bytes. It includes the
	// container's annotations, which Kubernetes limits to 256 KiB.
	maxMessage = 1 << 20
	// maxFiles is SCM_MAX_FD, the most that the kernel passes at once.
	maxFiles = 253
)

// receiveState reads the single message of a runtime's connection: a ContainerProcessState and the
// files that it names. It returns the one called seccompFd, close-on-exec; it closes every other
// file in any case.
func receiveState(conn *net.UnixConn) (_ *specs.ContainerProcessState, _ *os.File, err error) {
	var files []*os.File
	defer func() {
		for _, file := range files {
			if file != nil {
				_ = file.Close()
			}
		}
	}()
	var (
		message []byte
		state   specs.ContainerProcessState
		buffer  = make([]byte, 64<<10)
		control = make([]byte, unix.CmsgSpace(4*maxFiles))
	)
	for complete := false; !complete; {
		n, controls, flags, _, err := conn.ReadMsgUnix(buffer, control) // sets MSG_CMSG_CLOEXEC
		received, parseErr := receivedFiles(control[:controls])
		files = append(files, received...)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("read the runtime's message: %w", err)
		case parseErr != nil:
			return nil, nil, parseErr
		case flags&unix.MSG_CTRUNC != 0, len(files) > maxFiles:
			return nil, nil, errors.New("the runtime's message has too many files")
		case n == 0:
			return nil, nil, errors.New("the runtime's message ends early")
		case len(message)+n > maxMessage:
			return nil, nil, fmt.Errorf("the runtime's message is longer than %d bytes", maxMessage)
		}
		message = append(message, buffer[:n]...)
		complete = message[len(message)-1] == '}' && json.Valid(message)
	}
	if err := json.Unmarshal(message, &state); err != nil {
		return nil, nil, fmt.Errorf("parse the runtime's message: %w", err)
	}
	index, err := notifyIndex(&state, len(files))
	if err != nil {
		return nil, nil, err
	}
	file := files[index]
	files[index] = nil
	return &state, file, nil
}

// receivedFiles takes ownership of all files in control messages, even if one of those is
// malformed.
func receivedFiles(control []byte) ([]*os.File, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("parse the runtime's control message: %w", err)
	}
	var (
		files []*os.File
		errs  []error
	)
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("parse the runtime's files: %w", err))
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, errors.Join(errs...)
}

// notifyIndex returns the index of the notify descriptor among the files.
func notifyIndex(state *specs.ContainerProcessState, files int) (int, error) {
	if len(state.Fds) != files {
		return 0, fmt.Errorf("the runtime's message names %d files and has %d", len(state.Fds), files)
	}
	index := -1
	for i, name := range state.Fds {
		if name != specs.SeccompFdName {
			continue
		}
		if index >= 0 {
			return 0, fmt.Errorf("the runtime's message has two files named %s", specs.SeccompFdName)
		}
		index = i
	}
	if index < 0 {
		return 0, fmt.Errorf("the runtime's message has no file named %s", specs.SeccompFdName)
	}
	return index, nil
}

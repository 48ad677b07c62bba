package emulate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// ptraceUserns attaches to a child in a new user namespace: see inUserns.
func ptraceUserns(s *striker) error {
	order := s.Order
	order.Vector, order.Child = "ptrace-attach", true
	return s.inUserns(order, os.NewFile(uintptr(s.Proof), "proof"), os.NewFile(uintptr(s.Stop), "stop"))
}

// inUserns makes the attempt that an order describes in a new user namespace. The process that
// creates a user namespace has every capability in it, but none over processes outside: the kernel
// requires CAP_SYS_PTRACE in the target's namespace (cap_ptrace_access_check).
func (s *striker) inUserns(order Order, proof, stop *os.File) error {
	order.Proof, order.Stop = 3, 4
	input, err := json.Marshal(order)
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	defer read.Close()               //nolint:errcheck // only read from
	command := exec.Command(selfExe) //nolint:noctx // the judge has the deadline
	command.Args = append(append([]string{}, s.Self...), "strike")
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), write, os.Stderr
	command.ExtraFiles = []*os.File{proof, stop}
	// A process with several threads cannot unshare its user namespace, so a child is created in a
	// new one.
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	s.at("clone(CLONE_NEWUSER)")
	if err := errors.Join(command.Start(), write.Close()); err != nil {
		return named("clone(CLONE_NEWUSER)", err)
	}
	last := s.relay(json.NewDecoder(read), command.Process.Pid)
	err = command.Wait()
	switch {
	case err != nil:
		return fmt.Errorf("the attempt in the user namespace: %w", err)
	case last.Errno != 0:
		return fmt.Errorf("in a user namespace: %s: %w", last.Error, last.Errno)
	case last.Error != "":
		return fmt.Errorf("in a user namespace: %s", last.Error)
	default:
		return nil
	}
}

// relay forwards the reports of the process pid as this attempt's own, and returns the last line.
func (s *striker) relay(lines *json.Decoder, pid int) Line {
	_ = s.out.Encode(Line{Actor: pid})
	for {
		var line Line
		if lines.Decode(&line) != nil || line.Done {
			return line
		}
		_ = s.out.Encode(line)
	}
}

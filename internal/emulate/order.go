package emulate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// order returns the order for an attempt and the files that it inherits, from descriptor 3 on. A
// victim that the attempt starts ends with stop.
func (j *judge) order(vector Vector, proof *proof, stop *os.File) (Order, []*os.File, error) {
	var nonce [4]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return Order{}, nil, fmt.Errorf("making a nonce: %w", err)
	}
	order := Order{
		Vector: vector.Name, Victim: j.victim, Child: j.options.Child, Guard: j.options.Guard, Self: j.options.Self,
		Nonce: binary.NativeEndian.Uint32(nonce[:]) | 1, Proof: 3, Stop: 4,
	}
	files := []*os.File{proof.file, stop}
	switch vector.Name {
	case "mem-inherited":
		switch {
		case j.options.MemFile != nil:
			order.Mem, files = 5, append(files, j.options.MemFile)
		case j.own != nil:
			order.Victim, order.Mem, files = j.own.victim, 5, append(files, j.own.mem)
		}
	case "mem-scm-rights":
		switch {
		case j.options.Socket != nil:
			order.Sock, files = 5, append(files, j.options.Socket)
		case j.own != nil:
			far, err := j.own.offer()
			if err != nil {
				return Order{}, nil, err
			}
			order.Victim, order.Sock, files = j.own.victim, 5, append(files, far)
		}
	}
	return order, files, nil
}

// strike runs one attempt to its end, however it ends.
func (j *judge) strike(ctx context.Context, order Order, files []*os.File) (*os.ProcessState, []Line, error) {
	ctx, cancel := context.WithTimeout(ctx, j.options.Timeout)
	defer cancel()
	input, err := json.Marshal(order)
	if err != nil {
		return nil, nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	defer read.Close() //nolint:errcheck // only read from
	command := exec.CommandContext(ctx, selfExe)
	command.Args = append(slices.Clone(j.options.Self), "strike")
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), write, j.options.Stderr
	command.ExtraFiles = files
	err = errors.Join(command.Start(), write.Close())
	if err != nil {
		return nil, nil, fmt.Errorf("starting the attempt %s: %w", order.Vector, err)
	}
	var lines []Line
	stopped := 0
	for decoder := json.NewDecoder(read); ; {
		var line Line
		if err := decoder.Decode(&line); err != nil {
			break // end of file; a line cut off by a kill does not count
		}
		if line.Stopped != 0 {
			stopped = line.Stopped
		}
		lines = append(lines, line)
	}
	if stopped != 0 {
		_ = unix.Kill(stopped, unix.SIGCONT) // it may have ended
	}
	// The process state says how the attempt ended; the error that Wait makes of it is not an error
	// here.
	err = command.Wait()
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("the attempt %s took more than %s: %w", order.Vector, j.options.Timeout, ctx.Err())
	}
	if command.ProcessState == nil {
		return nil, nil, fmt.Errorf("the attempt %s: %w", order.Vector, err)
	}
	return command.ProcessState, lines, nil
}

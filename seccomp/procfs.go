package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/shimward/shimward/internal/procfile"
)

// procfs reads a mount of proc. A task may end at any time, so what is read about one is worthless
// until the notification that named the task is found to be still valid.
type procfs string

// errGone is wrapped if a task, or the part of it that was read, does not exist (any more).
var errGone = errors.New("no such task")

// status has the fields of /proc/<tid>/status that are needed here.
type status struct {
	tgid, parent int
	inside       []int // NSpid: the pid in each namespace, from this proc's inward
	threads      int
	capabilities uint64 // CapEff, the effective ones
}

func (p procfs) path(pid int, elements ...string) string {
	return string(p) + "/" + strconv.Itoa(pid) + "/" + strings.Join(elements, "/")
}

// usual is a buffer size in bytes that is enough for a task's files in proc, unless the task is in
// very many groups.
const usual = 4096

func (p procfs) status(tid int) (status, error) {
	var buffer [usual]byte
	text, err := procfile.Read(p.path(tid, "status"), buffer[:])
	if err != nil {
		return status{}, gone("read status", err)
	}
	return parseStatus(text)
}

func parseStatus(text []byte) (status, error) {
	var s status
	for len(text) > 0 {
		var line []byte
		line, text = procfile.Line(text)
		key, value, _ := bytes.Cut(line, []byte(":"))
		var err error
		switch string(key) {
		case "Tgid":
			s.tgid, err = number(value)
		case "PPid":
			s.parent, err = number(value)
		case "Threads":
			s.threads, err = number(value)
		case "CapEff":
			s.capabilities, err = strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		case "NSpid":
			for field, rest := procfile.Field(value); len(field) > 0 && err == nil; field, rest = procfile.Field(rest) {
				var pid int
				pid, err = number(field)
				s.inside = append(s.inside, pid)
			}
		}
		if err != nil {
			return status{}, fmt.Errorf("parse status: %s: %w", string(key), err)
		}
	}
	if s.tgid <= 0 {
		return status{}, errors.New("parse status: no Tgid")
	}
	return s, nil
}

// start returns a process's start time in clock ticks since boot: field 22 of /proc/<pid>/stat.
func (p procfs) start(pid int) (uint64, error) {
	var buffer [usual]byte
	text, err := procfile.Read(p.path(pid, "stat"), buffer[:])
	if err != nil {
		return 0, gone("read stat", err)
	}
	return parseStart(text)
}

func parseStart(text []byte) (uint64, error) {
	// The command's name is in parentheses, and can contain any byte.
	_, rest, ok := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(") "))
	const afterName = 22 - 3
	var field []byte
	for range afterName + 1 {
		field, rest = procfile.Field(rest)
	}
	if !ok || len(field) == 0 {
		return 0, errors.New("parse stat: too short")
	}
	start, err := strconv.ParseUint(string(field), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse stat: %w", err)
	}
	return start, nil
}

// errNotPIDFD says that a descriptor is not open, or not a pidfd.
var errNotPIDFD = errors.New("not a pidfd")

// pidfd returns the pid that a task's pidfd refers to. The error wraps errNotPIDFD, or errGone if the
// process is gone. Reading a descriptor that is not a pidfd may block, so it is an error, too, if the
// answer does not come soon, or if the process is in a namespace that this proc does not show.
func (p procfs) pidfd(tid, fd int) (int, error) {
	type answer struct {
		pid int
		err error
	}
	got := procfile.Promptly(func() answer {
		pid, err := p.readPIDFD(tid, fd)
		return answer{pid, err}
	})
	if got == (answer{}) {
		return 0, fmt.Errorf("descriptor %d: the process that it refers to is not visible here, or procfs does not answer", fd)
	}
	return got.pid, got.err
}

func (p procfs) readPIDFD(tid, fd int) (int, error) {
	var buffer [usual]byte
	text, err := procfile.Read(p.path(tid, "fdinfo", strconv.Itoa(fd)), buffer[:])
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("descriptor %d: %w", fd, errNotPIDFD)
	}
	if err != nil {
		return 0, gone("read fdinfo", err)
	}
	return parsePIDFD(text)
}

func parsePIDFD(text []byte) (int, error) {
	for len(text) > 0 {
		var line []byte
		line, text = procfile.Line(text)
		value, ok := bytes.CutPrefix(line, []byte("Pid:"))
		if !ok {
			continue
		}
		if string(bytes.TrimSpace(value)) == "-1" {
			return 0, fmt.Errorf("pidfd: %w", errGone)
		}
		pid, err := number(value)
		if err != nil {
			return 0, fmt.Errorf("parse fdinfo: %w", err)
		}
		return pid, nil
	}
	return 0, errNotPIDFD
}

func number(text []byte) (int, error) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("parse a pid: %w", err)
	}
	return int(n), nil
}

func gone(what string, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s: %w", what, errGone)
	}
	return fmt.Errorf("%s: %w", what, err)
}

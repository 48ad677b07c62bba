package seccomp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// procfs reads a mount of proc. What it reads of a task that may end at any time
// is worth nothing until the notification that named the task is found valid.
type procfs string

// errGone is wrapped where a task, or what it was asked for, is not there (any more).
var errGone = errors.New("no such task")

// status is what /proc/<tid>/status says, of what is needed here.
type status struct {
	tgid, parent int
	inside       []int // NSpid: the pid in each namespace, from this proc's inwards
	threads      int
	privileged   bool // has a capability that bpf(2) asks for
}

// bpfCapabilities are those that bpf(2) lets a program read others' memory with,
// or somebody get at others' programs: CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF.
const bpfCapabilities = 1<<21 | 1<<38 | 1<<39

func (p procfs) path(pid int, elements ...string) string {
	return filepath.Join(append([]string{string(p), strconv.Itoa(pid)}, elements...)...)
}

func (p procfs) status(tid int) (status, error) {
	text, err := os.ReadFile(p.path(tid, "status"))
	if err != nil {
		return status{}, gone("read status", err)
	}
	return parseStatus(text)
}

func parseStatus(text []byte) (status, error) {
	var s status
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		var err error
		switch key {
		case "Tgid":
			s.tgid, err = number(value)
		case "PPid":
			s.parent, err = number(value)
		case "Threads":
			s.threads, err = number(value)
		case "CapEff":
			var effective uint64
			effective, err = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			s.privileged = effective&bpfCapabilities != 0
		case "NSpid":
			for _, field := range strings.Fields(value) {
				var pid int
				if pid, err = number(field); err != nil {
					break
				}
				s.inside = append(s.inside, pid)
			}
		}
		if err != nil {
			return status{}, fmt.Errorf("parse status: %s: %w", key, err)
		}
	}
	if s.tgid <= 0 {
		return status{}, errors.New("parse status: no Tgid")
	}
	return s, nil
}

// start is when a process began, in clock ticks after boot: field 22 of /proc/<pid>/stat.
func (p procfs) start(pid int) (uint64, error) {
	text, err := os.ReadFile(p.path(pid, "stat"))
	if err != nil {
		return 0, gone("read stat", err)
	}
	return parseStart(text)
}

func parseStart(text []byte) (uint64, error) {
	// The command's name is in parentheses, and can have any byte in it.
	_, rest, ok := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(") "))
	fields := bytes.Fields(rest)
	const afterName = 22 - 3
	if !ok || len(fields) <= afterName {
		return 0, errors.New("parse stat: too short")
	}
	start, err := strconv.ParseUint(string(fields[afterName]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse stat: %w", err)
	}
	return start, nil
}

// errNotPIDFD says that a descriptor is none, or not a pidfd.
var errNotPIDFD = errors.New("not a pidfd")

// pidfd is the pid that a task's pidfd stands for: 0 if it is in a namespace
// that this proc does not show. The error wraps errNotPIDFD, or errGone if the process is.
func (p procfs) pidfd(tid, fd int) (int, error) {
	text, err := os.ReadFile(p.path(tid, "fdinfo", strconv.Itoa(fd)))
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("descriptor %d: %w", fd, errNotPIDFD)
	}
	if err != nil {
		return 0, gone("read fdinfo", err)
	}
	return parsePIDFD(text)
}

func parsePIDFD(text []byte) (int, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		value, ok := strings.CutPrefix(lines.Text(), "Pid:")
		if !ok {
			continue
		}
		if strings.TrimSpace(value) == "-1" {
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

func number(text string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
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

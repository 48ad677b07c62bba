package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/procfile"
)

// procfs is the path of a mounted proc(5): "/proc", except in tests. What it reads of a container's
// processes is chosen by them: it is bounded, and has to be made printable by whoever displays it.
type procfs string

// procStat is the part of /proc/<pid>/stat that shimward uses.
type procStat struct {
	comm   string
	parent int
	start  uint64 // clock ticks after boot: with the pid, uniquely identifies a process
	code   uint64 // where its executable's code begins; 0 while an execve is in progress
	// newborn says that it has not execed since it was forked.
	newborn bool
}

// forkNoExec is PF_FORKNOEXEC of include/linux/sched.h.
const forkNoExec = 0x40

// maxCmdline bounds a command line in an event, in bytes.
const maxCmdline = 1024

var errStat = errors.New("not a line of /proc/<pid>/stat")

func (p procfs) path(pid int, name string) string {
	return string(p) + "/" + strconv.Itoa(pid) + "/" + name
}

// stat reads /proc/<pid>/stat.
func (p procfs) stat(pid int) (procStat, error) {
	var buffer [4096]byte
	raw, err := procfile.Head(p.path(pid, "stat"), buffer[:])
	if err != nil {
		return procStat{}, err
	}
	// The name is in parentheses, and may itself contain any of ") (".
	open, end := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("process %d: %w", pid, errStat)
	}
	// proc_pid_stat(5): the state is field 3, starttime is 22, startcode 26.
	var fields [24][]byte
	found := 0
	for rest := raw[end+1:]; found < len(fields); found++ {
		if fields[found], rest = procfile.Field(rest); len(fields[found]) == 0 {
			break
		}
	}
	if found < 20 {
		return procStat{}, fmt.Errorf("process %d: %w", pid, errStat)
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return procStat{}, fmt.Errorf("process %d: %w", pid, errStat)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("process %d: %w", pid, errStat)
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 32) // field 9
	if err != nil {
		return procStat{}, fmt.Errorf("process %d: %w", pid, errStat)
	}
	s := procStat{comm: string(raw[open+1 : end]), parent: parent, start: start, newborn: flags&forkNoExec != 0}
	if found == len(fields) {
		if s.code, err = strconv.ParseUint(string(fields[23]), 10, 64); err != nil {
			return procStat{}, fmt.Errorf("process %d: %w", pid, errStat)
		}
	}
	return s, nil
}

// exe returns the path of a process's executable, in its own root, or "" if it cannot be read.
func (p procfs) exe(pid int) string {
	link, err := os.Readlink(p.path(pid, "exe"))
	if err != nil {
		return ""
	}
	return link
}

// exeID returns the FileInfo, with device and inode, of a process's executable. It changes with
// each execve.
func (p procfs) exeID(pid int) (os.FileInfo, error) { return os.Stat(p.path(pid, "exe")) }

// exeIDPromptly is exeID for a caller that somebody waits for. It fails if the answer takes too long, or
// if too many processes block their readers: that must only ever cost an exception.
func (p procfs) exeIDPromptly(pid int) (os.FileInfo, error) {
	type answer struct {
		info os.FileInfo
		err  error
	}
	got := procfile.Promptly(func() answer {
		info, err := p.exeID(pid)
		return answer{info, err}
	})
	if got == (answer{}) {
		return nil, fmt.Errorf("process %d: its executable's file system does not answer", pid)
	}
	return got.info, got.err
}

// program returns the executable whose code a process runs, or nil while an execve is in progress,
// or if it cannot be read. A failure to read it, for lack of memory or because its file system
// fails, does not mean that the process has ended.
func (p procfs) program(process started) (exe os.FileInfo, ended bool, err error) {
	exe, err = p.exeID(process.pid)
	stat, statErr := p.stat(process.pid)
	err = errors.Join(err, statErr)
	ended = errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) ||
		statErr == nil && process.start != 0 && stat.start != process.start // its pid was reused
	if err != nil || stat.code == 0 {
		exe = nil
	}
	return exe, ended, err
}

// cmdline returns a process's command line, with spaces between the arguments and without quotes,
// or "" if it cannot be read, or not promptly.
func (p procfs) cmdline(pid int) string {
	return procfile.Promptly(func() string { return p.readCmdline(pid) })
}

func (p procfs) readCmdline(pid int) string {
	var buffer [maxCmdline]byte
	raw, err := procfile.Head(p.path(pid, "cmdline"), buffer[:])
	if err != nil {
		return ""
	}
	text := strings.ReplaceAll(strings.TrimRight(string(raw), "\x00"), "\x00", " ")
	return strings.ToValidUTF8(text, string(utf8.RuneError))
}

// procStatus is the part of /proc/<pid>/status that shimward uses.
type procStatus struct {
	tgid   int
	uid    int // effective
	inside int // the thread group's ID in its own pid namespace
	tracer int // ID of the thread that traces it; 0 if none does
}

func (p procfs) status(pid int) (procStatus, error) {
	var buffer [16384]byte
	raw, err := procfile.Head(p.path(pid, "status"), buffer[:])
	if err != nil {
		return procStatus{}, err
	}
	var s procStatus
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(value)
		switch {
		case name == "Tgid" && len(fields) == 1:
			s.tgid, err = strconv.Atoi(fields[0])
		case name == "Uid" && len(fields) == 4: // real, effective, saved, file system
			s.uid, err = strconv.Atoi(fields[1])
		case name == "TracerPid" && len(fields) == 1:
			s.tracer, err = strconv.Atoi(fields[0])
		case name == "NStgid" && len(fields) > 0: // outermost first
			s.inside, err = strconv.Atoi(fields[len(fields)-1])
		}
		if err != nil {
			return s, fmt.Errorf("process %d: parse %s of its status: %w", pid, name, err)
		}
	}
	return s, lines.Err()
}

// maxAncestry bounds a walk up the process tree: only a fork bomb's tree is deeper.
const maxAncestry = 64

// started returns the process that has a pid now, distinguished by its start time from others with
// that pid.
func (p procfs) started(pid int) started {
	stat, err := p.stat(pid)
	if err != nil {
		return started{pid: pid} // it is gone
	}
	return started{pid: pid, start: stat.start}
}

// lineage returns a process and its ancestors, as far as they can be read.
func (p procfs) lineage(pid int) []started {
	var found []started
	for range maxAncestry + 1 {
		stat, err := p.stat(pid)
		if err != nil {
			break
		}
		found = append(found, started{pid: pid, start: stat.start})
		if pid = stat.parent; pid <= 0 {
			break
		}
	}
	return found
}

// ancestors returns a process's ancestors, its parent first, as far as they can be read.
func (p procfs) ancestors(pid int) []int {
	var found []int
	for range maxAncestry {
		stat, err := p.stat(pid)
		if err != nil || stat.parent <= 0 {
			break
		}
		found = append(found, stat.parent)
		pid = stat.parent
	}
	return found
}

// ParentOf returns the pid of a process's parent.
func ParentOf(pid int) (int, error) {
	stat, err := procfs("/proc").stat(pid)
	return stat.parent, err
}

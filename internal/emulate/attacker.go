package emulate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attacker describes the attacking process.
type Attacker struct {
	PID       int  `json:"pid"`
	UID       int  `json:"uid"`
	SysPtrace bool `json:"cap_sys_ptrace"`
	SysNice   bool `json:"cap_sys_nice"`
	Yama      *int `json:"yama_ptrace_scope"` // nil if the kernel has no Yama
}

func attacker() (Attacker, error) {
	facts := Attacker{PID: os.Getpid(), UID: os.Geteuid()}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return facts, fmt.Errorf("asking for the capabilities: %w", err)
	}
	facts.SysPtrace = data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
	facts.SysNice = data[0].Effective&(1<<unix.CAP_SYS_NICE) != 0

	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if errors.Is(err, fs.ErrNotExist) {
		return facts, nil
	}
	if err != nil {
		return facts, fmt.Errorf("asking for Yama's setting: %w", err)
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(scope)))
	if err != nil {
		return facts, fmt.Errorf("asking for Yama's setting: %w", err)
	}
	facts.Yama = &value
	return facts, nil
}

// String describes the attacker in a few words.
func (a Attacker) String() string {
	has := "without"
	if a.SysPtrace {
		has = "with"
	}
	yama := "no Yama"
	if a.Yama != nil {
		yama = "Yama ptrace_scope " + strconv.Itoa(*a.Yama)
	}
	return fmt.Sprintf("uid %d, %s CAP_SYS_PTRACE, %s", a.UID, has, yama)
}

// note names what may have refused an attempt other than shimward.
func (a Attacker) note(r Result, errno unix.Errno) string {
	if errno != unix.EPERM && errno != unix.EACCES {
		return ""
	}
	switch {
	case r.Access.String() == "process_madvise" && !a.SysNice:
		return "the kernel itself asks for CAP_SYS_NICE"
	case a.SysPtrace || r.own:
		return ""
	case a.Yama != nil && *a.Yama > 0:
		return fmt.Sprintf("Yama's ptrace_scope %d may have refused it", *a.Yama)
	}
	info, err := os.Stat("/proc/" + strconv.Itoa(r.Target))
	if err != nil {
		return ""
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != a.UID {
		return fmt.Sprintf("the victim runs as uid %d: the kernel itself may have refused it", stat.Uid)
	}
	return ""
}

func joinNotes(notes ...string) string {
	var kept []string
	for _, note := range notes {
		if note != "" {
			kept = append(kept, note)
		}
	}
	return strings.Join(kept, "; ")
}

// signalOf returns the name of the signal that ended a process, or "" if none did.
func signalOf(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return ""
	}
	return unix.SignalName(status.Signal())
}

package installer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/install"
)

// knows reports whether the node's containerd was started after its config was changed, and
// therefore has the runtime.
func (h *host) knows(prefix, address string) (known bool, err error) {
	err = h.do(func() error {
		record, err := install.Load(prefix)
		if err != nil || record.Written.IsZero() {
			known = true
			return err
		}
		pid, err := server(address)
		if err != nil {
			return err
		}
		started, err := startTime(pid)
		known = started.After(record.Written)
		return err
	})
	return known, err
}

// unit returns the systemd unit that runs the containerd whose config was changed.
func (h *host) unit(ctx context.Context, prefix string) (string, error) {
	var record *install.Record
	err := h.do(func() (err error) {
		record, err = install.Load(prefix)
		return err
	})
	if err != nil {
		return "", err
	}
	return install.Active(install.Units(record.Config), func(args ...string) (int, error) {
		return h.run(ctx, "systemctl", args...)
	})
}

// server returns the pid of the process that listens on a socket (SO_PEERCRED, unix(7)).
func server(address string) (_ int, err error) {
	connection, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: strings.TrimPrefix(address, "unix://"), Net: "unix"})
	if err != nil {
		return 0, fmt.Errorf("connect to containerd: %w", err)
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	raw, err := connection.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("ask for containerd's pid: %w", failed)
	}
	return int(peer.Pid), nil
}

// userHz is the number of clock ticks per second in /proc/<pid>/stat, on every architecture that
// shimward supports.
const userHz = 100

// startTime returns when a process was started, to a hundredth of a second.
func startTime(pid int) (time.Time, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, fmt.Errorf("ask when containerd was started: %w", err)
	}
	ticks, err := startTicks(string(text))
	if err != nil {
		return time.Time{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Time{}, err
	}
	age := time.Duration(now.Nano()) - time.Duration(ticks)*(time.Second/userHz)
	return time.Now().Add(-age), nil
}

// startTicks returns field 22 of proc_pid_stat(5). Field 2, the name, may contain any character.
func startTicks(stat string) (int64, error) {
	const after = 22 - 3 // field 3 is the first after the name
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= after {
		return 0, fmt.Errorf("%q has %d fields after the name", stat, len(fields))
	}
	return strconv.ParseInt(fields[after], 10, 64)
}

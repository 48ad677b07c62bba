package ociruntime

import (
	"context"
	"fmt"
	"log/syslog"
	"os"
	"strconv"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// closeInherited closes the descriptors that the engine meant for the runtime: whoever waits for
// the end of a pipe would have to wait until the monitor ends. What this process opened itself is
// close-on-exec; what it inherited is not, or it would not be open here.
func closeInherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("look for inherited descriptors: %w", err)
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// silence replaces the standard streams, over which the monitor got its order, by /dev/null.
func silence() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null) //nolint:errcheck // its duplicates stay
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("detach from stream %d: %w", fd, err)
		}
	}
	return nil
}

// logToSyslog sends the log to syslog, if there is one, as engines keep no logs of runtimes. What
// concerns the container is in the event store.
func logToSyslog() {
	writer, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_WARNING, "shimward-monitor")
	if err != nil {
		return
	}
	log.L.Logger.SetOutput(writer)
}

func logger(ctx context.Context, o *order) *log.Entry { return log.G(ctx).WithField("container", o.ID) }

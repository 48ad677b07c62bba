package emulate

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// coreDump makes the victim's double crash, and reads its memory from the core that the kernel
// writes.
func coreDump(s *striker) error {
	return s.crash(func(double, _ int) error {
		s.at("kill(SIGABRT)")
		return named("kill", unix.Kill(double, unix.SIGABRT))
	})
}

// coreDumpIO does the same, but has the kernel send the signal for a pipe (O_ASYNC).
func coreDumpIO(s *striker) error {
	return s.crash(func(double, pidfd int) error {
		ends := make([]int, 2)
		if err := unix.Pipe2(ends, unix.O_CLOEXEC); err != nil {
			return named("pipe2", err)
		}
		// Closed last, because closing it makes the other end send the signal again.
		defer unix.Close(ends[1]) //nolint:errcheck // all has been said by then
		defer unix.Close(ends[0]) //nolint:errcheck // likewise
		for _, call := range []struct {
			name          string
			command, with int
		}{
			{"fcntl(F_SETSIG, SIGABRT)", unix.F_SETSIG, int(unix.SIGABRT)},
			{"fcntl(F_SETOWN)", unix.F_SETOWN, double},
			{"fcntl(F_SETFL, O_ASYNC)", unix.F_SETFL, unix.O_ASYNC},
		} {
			s.at(call.name)
			if _, err := unix.FcntlInt(uintptr(ends[0]), call.command, call.with); err != nil {
				return named("fcntl", err)
			}
		}
		s.at("write to the pipe")
		if _, err := unix.Write(ends[1], []byte{0}); err != nil {
			return named("write", err)
		}
		return s.arrived(double, pidfd)
	})
}

// arrives is how long to look for a trace of a signal that was sent.
const arrives = time.Second

// arrived finds out whether SIGABRT was sent to a process, which no call reports. The kernel sends
// it while the pipe is written to, or not at all.
func (s *striker) arrived(pid, pidfd int) error {
	s.at("wait for the signal")
	look := time.NewTicker(pollEvery)
	defer look.Stop()
	for deadline := time.Now().Add(arrives); time.Now().Before(deadline); <-look.C {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0) //nolint:gosec // a descriptor is an int in the kernel
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return named("poll", err)
		}
		if pending, err := abortPending(pid); pending || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return fmt.Errorf("the kernel sent no signal: %w", unix.EPERM)
}

// abortPending reports whether a process has SIGABRT pending, or is already writing its core.
func abortPending(pid int) (bool, error) {
	status, err := os.ReadFile(filepath.Join(procDir(pid), "status"))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(status)) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch field {
		case "CoreDumping":
			if value == "1" {
				return true, nil
			}
		case "ShdPnd":
			mask, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return false, err
			}
			return mask&(1<<(unix.SIGABRT-1)) != 0, nil
		}
	}
	return false, nil
}

// crash makes the victim's double crash by calling provoke, and reads the core.
func (s *striker) crash(provoke func(double, pidfd int) error) error {
	double, err := s.double()
	if err != nil {
		return err
	}
	path, pattern, err := coreFolder(double)
	if err != nil {
		return err
	}
	// Held open, because it cannot be reached through a process that is gone.
	folder, err := os.Open(path) //nolint:gosec // of the victim's own double
	if err != nil {
		return err
	}
	defer folder.Close() //nolint:errcheck // only read from
	pidfd, err := unix.PidfdOpen(double, 0)
	if err != nil {
		return named("pidfd_open", err)
	}
	defer unix.Close(pidfd) //nolint:errcheck // nothing was written
	if err := provoke(double, pidfd); err != nil {
		return err
	}
	s.at("wait for the core")
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1) //nolint:gosec // a descriptor is an int in the kernel
		if n > 0 {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return named("poll", err)
		}
	}
	literal, _, _ := strings.Cut(pattern, "%")
	return s.readCore(folder, literal)
}

// doubleStarts is how long a double may take to start, even on emulated CPUs.
const doubleStarts = 20 * time.Second

// double returns the pid of the victim's double, and waits if it has to be started again first.
func (s *striker) double() (int, error) {
	if s.Victim.ShmFD == 0 {
		return 0, fmt.Errorf("the victim %d has no folder for a double's core: %w", s.Victim.PID, unix.ENOSYS)
	}
	if _, err := os.Stat(filepath.Join(procDir(s.Victim.PID), "task", strconv.Itoa(s.Victim.PID), "children")); errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("this kernel does not list the children of a process: %w", unix.ENOSYS)
	}
	look := time.NewTicker(pollEvery)
	defer look.Stop()
	for deadline := time.Now().Add(doubleStarts); time.Now().Before(deadline); <-look.C {
		pid, err := doubleOf(s.Victim.PID)
		if err != nil {
			return 0, err
		}
		if pid > 0 {
			double := s.Victim
			double.PID = pid
			return pid, s.out.Encode(Line{Victim: &double})
		}
	}
	return 0, fmt.Errorf("the victim %d has no double", s.Victim.PID)
}

// readCore reads the secret from the core in a folder, and removes the core.
func (s *striker) readCore(folder *os.File, literal string) error {
	dir := "/proc/self/fd/" + strconv.Itoa(int(folder.Fd()))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), literal) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		s.at("read " + entry.Name())
		core, err := elf.Open(path)
		if err != nil {
			return fmt.Errorf("reading the core: %w", err)
		}
		err = s.readCoreFile(core)
		return errors.Join(err, core.Close(), os.Remove(path))
	}
	return fmt.Errorf("the kernel left no core: %w", unix.ENOSYS)
}

func (s *striker) readCoreFile(core *elf.File) error {
	for _, part := range core.Progs {
		if part.Type == elf.PT_LOAD && s.Victim.Address >= part.Vaddr && s.Victim.Address < part.Vaddr+part.Filesz {
			_, err := part.ReadAt(s.secret(), int64(s.Victim.Address-part.Vaddr)) //nolint:gosec // within a part of the file
			return named("read", err)
		}
	}
	return errors.New("the core does not have the secret's page")
}

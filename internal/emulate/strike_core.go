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

// coreDump makes the victim's double crash, and reads its memory from the file that
// the kernel leaves.
func coreDump(s *striker) error {
	double, err := s.double()
	if err != nil {
		return err
	}
	path, pattern, err := coreFolder(double)
	if err != nil {
		return err
	}
	// Held open: it is not to be reached through a process that is gone.
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
	s.at("kill(SIGABRT)")
	if err := unix.Kill(double, unix.SIGABRT); err != nil {
		return named("kill", err)
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

// doubleStarts is how long a double may take to start, on emulated CPUs too.
const doubleStarts = 20 * time.Second

// double is the victim's double, which may have to be started again first.
func (s *striker) double() (int, error) {
	if s.Victim.ShmFD == 0 {
		return 0, fmt.Errorf("the victim %d has no folder for a double's core: %w", s.Victim.PID, unix.ENOSYS)
	}
	if _, err := os.Stat(filepath.Join(procDir(s.Victim.PID), "task", strconv.Itoa(s.Victim.PID), "children")); errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("this kernel does not tell whose child a process is: %w", unix.ENOSYS)
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

// readCore reads the secret from the core in a folder, and removes that.
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

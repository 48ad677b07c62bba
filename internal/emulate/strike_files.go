package emulate

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Accesses to memory through files other than the target's mem.

// procFD opens the victim's memfd through its number in /proc/<pid>/fd.
func procFD(s *striker) error {
	if s.Victim.MemFD == 0 {
		return fmt.Errorf("the victim %d does not say which descriptor its memfd is", s.Victim.PID)
	}
	return s.readFile(filepath.Join(procDir(s.Victim.PID), "fd", strconv.Itoa(s.Victim.MemFD)))
}

// procFDShm opens the victim's shared memory in the same way.
func procFDShm(s *striker) error {
	if s.Victim.ShmFD == 0 {
		return fmt.Errorf("the victim %d has no shared memory: %w", s.Victim.PID, unix.ENOSYS)
	}
	return s.readFile(filepath.Join(procDir(s.Victim.PID), "fd", strconv.Itoa(s.Victim.ShmFD)))
}

// procFDReopened opens the memfd with O_PATH, which does not open the file itself, and then opens
// that descriptor through its own number.
func procFDReopened(s *striker) error {
	path := filepath.Join(procDir(s.Victim.PID), "task", strconv.Itoa(s.Victim.PID), "fd", strconv.Itoa(s.Victim.MemFD))
	s.at("open " + path + " with O_PATH")
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return named("open with O_PATH", err)
	}
	return errors.Join(s.readFile("/proc/self/fd/"+strconv.Itoa(fd)), unix.Close(fd))
}

// mapFiles opens the victim's mapping of its memfd through its address range.
func mapFiles(s *striker) error { return s.readMapped(memfdName) }

// segmentName is the kernel's name for a System V segment without a key (ipc/shm.c).
const segmentName = "/SYSV00000000"

// mapFilesSysV opens a System V shared memory segment, for which there is no descriptor.
func mapFilesSysV(s *striker) error { return s.readMapped(segmentName) }

// readMapped reads the file that the victim has mapped under name.
func (s *striker) readMapped(name string) error {
	maps, err := os.ReadFile(filepath.Join(procDir(s.Victim.PID), "maps"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		span, rest, _ := strings.Cut(line, " ")
		if strings.Contains(rest, name) {
			return s.readFile(filepath.Join(procDir(s.Victim.PID), "map_files", span))
		}
	}
	return fmt.Errorf("the victim %d has no mapping of %s: %w", s.Victim.PID, name, unix.ENOSYS)
}

// kcore looks up the physical address of the victim's page and reads it there. A container's own
// /proc/kcore is masked; a new procfs mount exposes it.
func kcore(s *striker) error {
	return s.inOwnMounts(func(dir string) error {
		s.at("mount -t proc")
		if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
			return named("mount -t proc", err)
		}
		physical, err := s.physical()
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "kcore")
		s.at("open " + path)
		file, err := os.Open(path) //nolint:gosec // of this thread's own mount
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("this kernel has no /proc/kcore: %w", unix.ENOSYS)
		}
		if err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // only read from
		s.at("read")
		core, err := elf.NewFile(file)
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		for _, part := range core.Progs {
			if part.Type == elf.PT_LOAD && part.Paddr != 0 && physical >= part.Paddr && physical < part.Paddr+part.Memsz {
				_, err := part.ReadAt(s.secret(), int64(physical-part.Paddr)) //nolint:gosec // within a part of the file
				return named("read", err)
			}
		}
		return fmt.Errorf("%s has no part with the address %#x: %w", path, physical, unix.ENOSYS)
	})
}

// physical returns the physical address of the secret, which /proc/<pid>/pagemap reveals to
// CAP_SYS_ADMIN (Documentation/admin-guide/mm/pagemap.rst).
func (s *striker) physical() (uint64, error) {
	const present, frame = 1 << 63, 1<<55 - 1
	file, err := os.Open(filepath.Join(procDir(s.Victim.PID), "pagemap"))
	if err != nil {
		return 0, err
	}
	defer file.Close() //nolint:errcheck // only read from
	var entry [8]byte
	if _, err := file.ReadAt(entry[:], int64(s.Victim.Address/pageLength*8)); err != nil { //nolint:gosec // below 4 GiB
		return 0, fmt.Errorf("pagemap: %w", err)
	}
	value := binary.NativeEndian.Uint64(entry[:])
	if value&present == 0 || value&frame == 0 {
		return 0, errors.New("pagemap does not show where the page is (needs CAP_SYS_ADMIN)")
	}
	return value&frame*pageLength + s.Victim.Address%pageLength, nil
}

// readFile reads the secret from a file that contains it.
func (s *striker) readFile(path string) error {
	s.at("open " + path)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return named("open "+path, err)
	}
	s.at("read")
	_, err = unix.Pread(fd, s.secret(), 0)
	return errors.Join(named("read", err), unix.Close(fd))
}

// reconFiles reveal facts about a process's memory, but not its content.
var reconFiles = [...]string{
	"maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "auxv", "environ", "wchan", "syscall", "stack", "personality", "timers",
}

func (s *striker) readRecon(file string) error {
	return s.lookInto(file, unix.O_RDONLY, func(fd int) error {
		s.at("read")
		_, err := unix.Read(fd, make([]byte, pageLength))
		return named("read", err)
	})
}

// readFDInfo reads the kernel's description of a descriptor, which for an epoll or io_uring
// contains addresses.
func readFDInfo(s *striker) error {
	return s.readRecon(filepath.Join("fdinfo", strconv.Itoa(s.Victim.MemFD)))
}

// listMapFiles lists the address ranges that have files mapped.
func listMapFiles(s *striker) error {
	return s.lookInto("map_files", unix.O_RDONLY|unix.O_DIRECTORY, func(fd int) error {
		s.at("getdents")
		_, err := unix.Getdents(fd, make([]byte, pageLength))
		return named("getdents", err)
	})
}

// clearRefs makes the kernel forget which pages were accessed, so that pagemap and smaps then show
// what was accessed since.
func clearRefs(s *striker) error {
	return s.lookInto("clear_refs", unix.O_WRONLY, func(fd int) error {
		s.at("write")
		_, err := unix.Write(fd, []byte("1"))
		return named("write", err)
	})
}

// lookInto opens a file in the victim's folder in procfs, and calls use on it.
func (s *striker) lookInto(file string, flags int, use func(fd int) error) error {
	path := filepath.Join(procDir(s.Victim.PID), file)
	s.at("open " + path)
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel has no %s: %w", path, unix.ENOSYS)
	}
	if err != nil {
		return named("open "+path, err)
	}
	return errors.Join(use(fd), unix.Close(fd))
}

package emulate

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// The mem file through other paths: a tool that compares path strings does not recognise it.

func procDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

// openDir opens the victim's folder in procfs, which everybody may do.
func (s *striker) openDir() (int, error) {
	dir, err := unix.Open(procDir(s.Victim.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return dir, named("open "+procDir(s.Victim.PID), err)
}

// readOpened reads the secret through the descriptor that an open returned.
func (s *striker) readOpened(what string, fd int, err error) error {
	if err != nil {
		return named(what, err)
	}
	return errors.Join(s.readMem(fd), unix.Close(fd))
}

func memOpenat(s *striker) error {
	dir, err := s.openDir()
	if err != nil {
		return err
	}
	s.at("openat(mem)")
	fd, err := unix.Openat(dir, "mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return errors.Join(s.readOpened("openat(mem)", fd, err), unix.Close(dir))
}

func memOpenat2(s *striker) error {
	dir, err := s.openDir()
	if err != nil {
		return err
	}
	s.at("openat2(mem)")
	fd, err := unix.Openat2(dir, "mem", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	return errors.Join(s.readOpened("openat2(mem)", fd, err), unix.Close(dir))
}

func memCwd(s *striker) error {
	if err := unix.Chdir(procDir(s.Victim.PID)); err != nil {
		return named("chdir", err)
	}
	return s.readMemFile("mem")
}

func memRoot(s *striker) error { return s.readMemFile("/proc/self/root" + memPath(s.Victim.PID)) }

func memSymlink(s *striker) error {
	return inScratch(func(dir string) error {
		link := filepath.Join(dir, "harmless.txt")
		if err := unix.Symlink(memPath(s.Victim.PID), link); err != nil {
			return named("symlink", err)
		}
		return s.readMemFile(link)
	})
}

// memReopened opens the file twice: O_PATH passes no check, and the second path contains only a
// descriptor's number.
func memReopened(s *striker) error {
	path, err := unix.Open(memPath(s.Victim.PID), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return named("open with O_PATH", err)
	}
	return errors.Join(s.readMemFile("/proc/self/fd/"+strconv.Itoa(path)), unix.Close(path))
}

func memBindMount(s *striker) error {
	return s.inOwnMounts(func(dir string) error {
		target := filepath.Join(dir, "harmless.txt")
		if err := os.WriteFile(target, nil, 0o600); err != nil {
			return err
		}
		s.at("mount --bind")
		if err := unix.Mount(memPath(s.Victim.PID), target, "", unix.MS_BIND, ""); err != nil {
			return named("mount --bind", err)
		}
		return s.readMemFile(target)
	})
}

func memSecondProcfs(s *striker) error {
	return s.inOwnMounts(func(dir string) error {
		s.at("mount -t proc")
		if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
			return named("mount -t proc", err)
		}
		return s.readMemFile(filepath.Join(dir, strconv.Itoa(s.Victim.PID), "mem"))
	})
}

// inOwnMounts calls do in a new mount namespace of this thread, which ends with the attempt.
func (s *striker) inOwnMounts(do func(dir string) error) error {
	runtime.LockOSThread() // never unlocked: no other goroutine may run in this namespace
	s.at("unshare(CLONE_NEWNS)")
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return named("unshare(CLONE_NEWNS)", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return named("mount --make-rprivate", err)
	}
	const dir = "/tmp"
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return named("mount -t tmpfs", err)
	}
	return do(dir)
}

func inScratch(do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "shimward-emulate-")
	if err != nil {
		return err
	}
	return errors.Join(do(dir), os.RemoveAll(dir))
}

// memThread opens the file in one thread and reads it in another.
func memThread(s *striker) error {
	path := memPath(s.Victim.PID)
	type opened struct {
		fd  int
		err error
	}
	s.at("open " + path)
	done := make(chan opened)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- opened{fd, err}
	}()
	file := <-done
	return s.readOpened("open "+path, file.fd, file.err)
}

func threadSelfMemWrite(s *striker) error { return s.writeOwn("/proc/thread-self/mem") }

package emulate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func memPath(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "mem") }

func procMemRead(s *striker) error { return s.readMemFile(memPath(s.Victim.PID)) }

func taskMemRead(s *striker) error {
	thread, err := s.lastThread()
	if err != nil {
		return err
	}
	return s.readMemFile(filepath.Join(procDir(s.Victim.PID), "task", strconv.Itoa(thread), "mem"))
}

// lastThread returns the id of one of the victim's threads, and not the main thread unless there is
// no other.
func (s *striker) lastThread() (int, error) {
	threads, err := os.ReadDir(filepath.Join(procDir(s.Victim.PID), "task"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(threads[len(threads)-1].Name())
}

func (s *striker) readMemFile(path string) error {
	s.at("open " + path)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return errors.Join(s.readMem(fd), unix.Close(fd))
}

func (s *striker) readMem(fd int) error {
	s.at("read")
	if _, err := unix.Pread(fd, s.secret(), int64(s.Victim.Address)); err != nil { //nolint:gosec // below 4 GiB
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func procMemWrite(s *striker) error { return s.writeMemFile(memPath(s.Victim.PID), s.word()) }

// selfMemWrite writes to the page that is shared with the judge, so that the judge sees the change
// even if this process is killed.
func selfMemWrite(s *striker) error { return s.writeOwn("/proc/self/mem") }

func (s *striker) writeOwn(path string) error {
	//nolint:gosec // a file of memory is read and written by address
	return s.writeMemFile(path, uint64(uintptr(unsafe.Pointer(&s.proof[proofWord]))))
}

func (s *striker) writeMemFile(path string, address uint64) error {
	s.at("open " + path)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.at("write")
	if _, err := unix.Pwrite(fd, s.payload(), int64(address)); err != nil { //nolint:gosec // user addresses fit
		return errors.Join(fmt.Errorf("write: %w", err), unix.Close(fd))
	}
	return unix.Close(fd)
}

// memInherited reads through a descriptor that was opened earlier: a mem file that the emulation
// was started with, or that the judge opened on its own memory, or else one that this process opens
// before it executes the program that reads.
func memInherited(s *striker) error {
	if s.Mem > 0 {
		return s.readMem(s.Mem)
	}
	path := memPath(s.Victim.PID)
	s.at("open " + path)
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.at("exec with the open descriptor")
	s.Mem, s.Child = fd, false
	order, err := json.Marshal(s.Order)
	if err != nil {
		return err
	}
	// Standard input has been read already, so the order is passed on through a pipe.
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	if _, err := unix.Write(pipe[1], order); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	if err := errors.Join(unix.Close(pipe[1]), unix.Dup3(pipe[0], 0, 0), keep(s.Proof), keep(s.Stop)); err != nil {
		return err
	}
	return fmt.Errorf("exec: %w", unix.Exec(selfExe, append(s.Self, "strike"), os.Environ()))
}

func keep(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return err
}

// memSCMRights reads a mem file that it receives over a socket: from the socket that the judge
// passed on or, if there is none, from a process that opens the mem file.
func memSCMRights(s *striker) error {
	sock := s.Sock
	if sock == 0 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socketpair: %w", err)
		}
		sock = pair[0]
		giver := os.NewFile(uintptr(pair[1]), "giver")
		s.at("another process opens " + memPath(s.Victim.PID))
		command := exec.Command(selfExe) //nolint:noctx // the judge has the deadline
		command.Args = append(append([]string{}, s.Self...), "give", strconv.Itoa(s.Victim.PID))
		command.ExtraFiles = []*os.File{giver}
		output, err := command.CombinedOutput()
		if closeErr := giver.Close(); closeErr != nil {
			return closeErr
		}
		if err != nil {
			if command.ProcessState != nil {
				_ = s.out.Encode(Line{Actor: command.ProcessState.Pid()})
			}
			return giverError(output, err)
		}
	}
	s.at("receive the descriptor")
	fd, err := receive(sock)
	if err != nil {
		return err
	}
	return errors.Join(s.readMem(fd), unix.Close(fd))
}

// giverError recovers the errno of a giver that was refused: its exit status is the errno.
func giverError(output []byte, err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return fmt.Errorf("%s: %w", strings.TrimSpace(string(output)), unix.Errno(exit.ExitCode()))
	}
	return fmt.Errorf("the process that opens it: %w", err)
}

// Give opens a process's mem file and sends it over the unix socket fd.
func Give(pid, fd int) error {
	return GiveTo(pid, func() (*os.File, error) { return os.NewFile(uintptr(fd), "socket"), nil })
}

// GiveTo opens a process's mem file, and only then asks for the socket to send it over.
func GiveTo(pid int, socket func() (*os.File, error)) error {
	mem, err := os.Open(memPath(pid))
	if err != nil {
		return err
	}
	to, err := socket()
	if err != nil {
		return errors.Join(err, mem.Close())
	}
	return errors.Join(send(int(to.Fd()), int(mem.Fd())), to.Close(), mem.Close())
}

// Errno returns the errno in err's chain, or 0.
func Errno(err error) int {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return 0
	}
	return int(errno)
}

func send(sock, fd int) error {
	if err := unix.Sendmsg(sock, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("sending the descriptor: %w", err)
	}
	return nil
}

func receive(sock int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, flags, _, err := unix.Recvmsg(sock, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receiving the descriptor: %w", err)
	}
	if n == 0 {
		if flags&unix.MSG_CTRUNC != 0 {
			// security_file_receive refused: the kernel delivers only the byte.
			return -1, fmt.Errorf("receiving the descriptor: the kernel withheld it: %w", unix.EACCES)
		}
		return -1, fmt.Errorf("receiving the descriptor: %w", io.ErrUnexpectedEOF)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, fmt.Errorf("receiving the descriptor: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, fmt.Errorf("receiving the descriptor: %w", err)
	}
	return fds[0], nil
}

package emulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// doubleName is the comm of a victim's double.
const doubleName = "double"

// maxDoubles is how many doubles in a row may end otherwise than by a signal before no more are
// started.
const maxDoubles = 20

// keepDouble runs a double, a process that has the victim's secret too and may be made to crash,
// and starts a new one whenever it is gone, until ctx is done or stop is called. The double runs in
// a folder of its own, where the kernel writes a core whose pattern names no folder.
func keepDouble(ctx context.Context, options VictimOptions) (stop func(), err error) {
	none := func() {} // the attack on the double reports that there is none
	if !hasSharedMemory() {
		return none, nil
	}
	dir, err := os.MkdirTemp(sharedMemory, "shimward-double-*")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return none, nil
	}
	if err != nil {
		return nil, fmt.Errorf("making a double: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// A double may find its secret's address taken; the next one need not.
		for failed := 0; failed < maxDoubles && ctx.Err() == nil; {
			if runDouble(ctx, dir, options) != nil {
				failed++
			} else {
				failed = 0
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		_ = os.RemoveAll(dir)
	}, nil
}

// runDouble runs one double to its end. If the victim is killed, the double ends with the pipe that
// the victim holds.
func runDouble(ctx context.Context, dir string, options VictimOptions) error {
	secret, err := ownFile(options.Planted.MemFD, memfdName)
	if err != nil {
		return err
	}
	defer secret.Close() //nolint:errcheck // only read from
	command := exec.CommandContext(ctx, selfExe)
	command.Args = append(slices.Clone(options.Command), "--double", fmt.Sprintf("--address=%#x", options.Planted.Address), "--memfd=3")
	command.Dir, command.ExtraFiles = dir, []*os.File{secret}
	lifeline, err := command.StdinPipe()
	if err != nil {
		return err
	}
	defer lifeline.Close() //nolint:errcheck // the double is gone
	if err := command.Start(); err != nil {
		return err
	}
	err = command.Wait()
	var crash *exec.ExitError
	if errors.As(err, &crash) && signalOf(crash.ProcessState) != "" {
		return nil
	}
	return errors.Join(err, errors.New("the double ended by itself"))
}

// ownFile returns a file on a duplicate of fd. The garbage collector closes the descriptor of an
// unreachable os.File, and fd itself must stay open.
func ownFile(fd int, name string) (*os.File, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, named("dup", err)
	}
	return os.NewFile(uintptr(own), name), nil
}

// RunDouble plants a victim's secret at its address and waits to be killed.
func RunDouble(planted Victim, lifeline io.Reader) error {
	secret := make([]byte, secretLength)
	if _, err := unix.Pread(planted.MemFD, secret, 0); err != nil {
		return fmt.Errorf("taking the secret from descriptor %d: %w", planted.MemFD, err)
	}
	if _, err := plant(planted.Address, secret); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return named("getrlimit", err)
	}
	// Allow cores, as for services whose crashes are analysed.
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return named("setrlimit", err)
	}
	// Go's runtime handles every signal; programs in most other languages have SIG_DFL for SIGABRT.
	var action [4]uint64
	if _, _, errno := unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGABRT), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno != 0 { //nolint:gosec // what a system call takes are addresses
		return named("rt_sigaction", errno)
	}
	if err := os.WriteFile("/proc/self/comm", []byte(doubleName), 0); err != nil {
		return fmt.Errorf("naming the double: %w", err)
	}
	_, err := io.Copy(io.Discard, lifeline)
	return err
}

// doubleOf returns the pid of a victim's double, a child of any of its threads, or 0 if it has none
// at the moment.
func doubleOf(victim int) (int, error) {
	tasks := filepath.Join(procDir(victim), "task")
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return 0, err
	}
	for _, thread := range threads {
		children, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "children")) //nolint:gosec // the kernel's own words
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			comm, err := os.ReadFile(filepath.Join("/proc", child, "comm")) //nolint:gosec // likewise
			if err != nil || strings.TrimSpace(string(comm)) != doubleName {
				continue
			}
			// A double that has crashed is still listed until it has been waited for.
			if _, err := os.Readlink(filepath.Join("/proc", child, "cwd")); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return strconv.Atoi(child)
		}
	}
	return 0, nil
}

// corePattern is the setting for where the kernel writes cores. It resolves the path in the
// crashing process's mount namespace.
const corePattern = "/proc/sys/kernel/core_pattern"

// coreFolder returns the folder that a process's core goes to, as the attacker sees it, and the
// file name part of the pattern.
func coreFolder(pid int) (folder, name string, err error) {
	raw, err := os.ReadFile(corePattern)
	if err != nil {
		return "", "", err
	}
	pattern := string(raw[:len(raw)-1])
	if len(pattern) == 0 || pattern[0] == '|' || pattern[0] == '@' {
		return "", "", fmt.Errorf("this node hands cores to %q: %w", pattern, unix.ENOSYS)
	}
	folder = filepath.Join(procDir(pid), "cwd")
	if filepath.IsAbs(pattern) {
		folder = filepath.Join(procDir(pid), "root", filepath.Dir(pattern))
	}
	return folder, filepath.Base(pattern), nil
}

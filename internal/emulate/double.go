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

// doubleName is what a victim's double is called.
const doubleName = "double"

// maxDoubles is how many in a row may end before they are killed.
const maxDoubles = 20

// keepDouble runs a process that has the victim's secret too and may be made to
// crash, and another one when that is gone, until ctx is done. Its folder is where
// a core goes that the kernel names without one.
func keepDouble(ctx context.Context, options VictimOptions) (stop func(), err error) {
	none := func() {} // the attack on it says that there is none
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
		// One may find something else at the secret's address, which the next does not.
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

// runDouble runs one to its end. It ends with the pipe that it holds, if the victim is killed.
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

// ownFile returns a file with a descriptor of its own for what fd is: the collector
// closes the descriptor of an os.File that nobody holds any more, and fd is to stay.
func ownFile(fd int, name string) (*os.File, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, named("dup", err)
	}
	return os.NewFile(uintptr(own), name), nil
}

// RunDouble plants a victim's secret at its address, and waits to be killed.
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
	// As services are run whose crashes somebody looks into.
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return named("setrlimit", err)
	}
	// Go's runtime handles every signal; SIG_DFL is what programs have that are in no such language.
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

// doubleOf returns a victim's double, which a thread of its started; 0: it has none at the moment.
func doubleOf(victim int) (int, error) {
	tasks := filepath.Join(procDir(victim), "task")
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return 0, err
	}
	for _, thread := range threads {
		children, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "children")) //nolint:gosec // the kernel's own words
		if err != nil {
			continue // it has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			comm, err := os.ReadFile(filepath.Join("/proc", child, "comm")) //nolint:gosec // likewise
			if err != nil || strings.TrimSpace(string(comm)) != doubleName {
				continue
			}
			// One that was made to crash is still there until it has been waited for.
			if _, err := os.Readlink(filepath.Join("/proc", child, "cwd")); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return strconv.Atoi(child)
		}
	}
	return 0, nil
}

// corePattern is where the kernel writes cores: the file system namespace is the crashing process's.
const corePattern = "/proc/sys/kernel/core_pattern"

// coreFolder is the folder that a process's core goes to, as the attacker sees it,
// and how its name begins.
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

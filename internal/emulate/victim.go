package emulate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// commPrefix and eight hex digits fill the 15 bytes of a process's name. The digits are the
	// word that attempts to write target, as the victim sees it.
	commPrefix = "victim:"
	pollEvery  = 5 * time.Millisecond
)

// VictimOptions says how a victim runs.
type VictimOptions struct {
	Stop    int  // a descriptor at whose end of file the victim ends; 0: it ends at SIGTERM or SIGINT only
	JSON    bool // announce itself as one line of JSON
	Parent  bool // do not become a victim, but start one, and wait until it ends
	Planted *Victim
	Command []string // the command line that runs a victim again, to which its parameters are appended
	Out     io.Writer
}

// RunVictim plants a secret in this process's memory and keeps it until it is told to stop. It
// first replaces the process once by exec, so that the command line contains the secret's address
// and hash, which can then be read without access to the memory.
func RunVictim(ctx context.Context, options VictimOptions) error {
	if options.Parent {
		return runParent(ctx, options)
	}
	if options.Planted == nil {
		return replaceWithVictim(options)
	}
	victim := *options.Planted
	victim.PID = os.Getpid()
	secret := make([]byte, secretLength)
	if _, err := unix.Pread(victim.MemFD, secret, 0); err != nil {
		return fmt.Errorf("taking the secret from descriptor %d: %w", victim.MemFD, err)
	}
	page, err := plant(victim.Address, secret)
	if err != nil {
		return err
	}
	// Map the memfd as well, so that the victim's mappings include it.
	if _, err := unix.Mmap(victim.MemFD, 0, pageLength, unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
		return fmt.Errorf("mapping the memfd: %w", err)
	}
	if err := segment(secret); err != nil {
		return err
	}
	word := page[wordOffset : wordOffset+4]
	if err := publish(word); err != nil {
		return err
	}
	if victim.OwnMem > 0 {
		if _, err := ownMem(victim.OwnMem); err != nil {
			return err
		}
	}
	var absent *absentPage
	if victim.UserFD > 0 {
		if absent, err = newAbsentPage(ctx, victim); err != nil {
			return err
		}
		defer absent.close()
	}
	stopDouble, err := keepDouble(ctx, options)
	if err != nil {
		return err
	}
	defer stopDouble()
	if err := announce(options, victim); err != nil {
		return err
	}

	ctx, cancel := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer cancel()
	if options.Stop > 0 {
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, os.NewFile(uintptr(options.Stop), "stop"))
		}()
	}
	for tick := time.NewTicker(pollEvery); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := absent.take(word); err != nil {
				return err
			}
			if err := publish(word); err != nil {
				return err
			}
		}
	}
}

// runParent starts a victim as a child of this process, so that the tracer of this process can
// follow it there.
func runParent(ctx context.Context, options VictimOptions) error {
	stop, err := ownFile(options.Stop, "stop")
	if err != nil {
		return err
	}
	defer stop.Close() //nolint:errcheck // only handed on
	command := exec.CommandContext(ctx, selfExe)
	command.Args = append(slices.Clone(options.Command), "--json", "--stop-fd=3")
	command.Stdout, command.Stderr, command.ExtraFiles = os.Stdout, os.Stderr, []*os.File{stop}
	return command.Run()
}

func replaceWithVictim(options VictimOptions) error {
	secret, err := newSecret()
	if err != nil {
		return err
	}
	address, err := newAddress()
	if err != nil {
		return err
	}
	fd, err := secretFile(secret)
	if err != nil {
		return err
	}
	shared, err := sharedFile(secret)
	if err != nil {
		return err
	}
	// After the exec, these two are of no use except for their numbers, which the command line can
	// contain.
	user, err := newUserfaultfd(0)
	if err != nil {
		return err
	}
	mem, err := ownMem(0)
	if err != nil {
		return err
	}
	args := append([]string{}, options.Command...)
	args = append(args, "--address="+fmt.Sprintf("%#x", address), "--sha256="+digest(secret),
		"--memfd="+strconv.Itoa(fd), "--shm="+strconv.Itoa(shared), "--uffd="+strconv.Itoa(user), "--mem="+strconv.Itoa(mem))
	if options.Stop > 0 {
		if _, err := unix.FcntlInt(uintptr(options.Stop), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keeping descriptor %d: %w", options.Stop, err)
		}
		args = append(args, "--stop-fd="+strconv.Itoa(options.Stop))
	}
	if options.JSON {
		args = append(args, "--json")
	}
	return fmt.Errorf("starting the victim again: %w", unix.Exec(selfExe, args, os.Environ()))
}

func announce(options VictimOptions, victim Victim) error {
	if options.JSON {
		return json.NewEncoder(options.Out).Encode(victim)
	}
	_, err := fmt.Fprintf(options.Out, "victim: pid %d keeps a secret of %d bytes at %#x, and in the memfd that is its descriptor %d; it ends at SIGTERM\n",
		victim.PID, secretLength, victim.Address, victim.MemFD)
	return err
}

// publish makes the word part of the process's name, which others can read without access to its
// memory.
func publish(word []byte) error {
	name := commPrefix + fmt.Sprintf("%08x", binary.NativeEndian.Uint32(word))
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return fmt.Errorf("naming the victim: %w", err)
	}
	return nil
}

// wordOf reads the word that a victim publishes. It fails if pid is not, or is no longer, a victim.
func wordOf(pid int) (uint32, error) {
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return 0, fmt.Errorf("asking the victim: %w", err)
	}
	digits, found := strings.CutPrefix(strings.TrimSpace(string(comm)), commPrefix)
	if !found {
		return 0, fmt.Errorf("process %d is not a victim, its name is %q", pid, strings.TrimSpace(string(comm)))
	}
	word, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("process %d is not a victim: %w", pid, err)
	}
	return uint32(word), nil
}

// Describe reads a victim's parameters from its command line.
func Describe(pid int) (Victim, error) {
	if _, err := wordOf(pid); err != nil {
		return Victim{}, err
	}
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return Victim{}, fmt.Errorf("asking the victim: %w", err)
	}
	victim := Victim{PID: pid}
	for argument := range strings.SplitSeq(string(cmdline), "\x00") {
		flag, value, _ := strings.Cut(argument, "=")
		switch flag {
		case "--address":
			victim.Address, err = strconv.ParseUint(value, 0, 64)
		case "--sha256":
			victim.SHA256 = value
		case "--memfd":
			victim.MemFD, err = strconv.Atoi(value)
		case "--shm":
			victim.ShmFD, err = strconv.Atoi(value)
		case "--uffd":
			victim.UserFD, err = strconv.Atoi(value)
		case "--mem":
			victim.OwnMem, err = strconv.Atoi(value)
		}
		if err != nil {
			return Victim{}, fmt.Errorf("the victim %d's %s: %w", pid, flag, err)
		}
	}
	if victim.Address == 0 || victim.SHA256 == "" {
		return Victim{}, fmt.Errorf("process %d does not say where its secret is", pid)
	}
	return victim, nil
}

// ErrNoVictim is returned by Find if there is no victim.
var ErrNoVictim = errors.New("no victim among the processes that this one can see: start one with \"shimward emulate victim\" " +
	"in a container that shares its pid namespace with this one, or use --spawn")

// Find returns the first victim in this pid namespace.
func Find() (Victim, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return Victim{}, fmt.Errorf("looking for a victim: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if victim, err := Describe(pid); err == nil {
			return victim, nil
		}
	}
	return Victim{}, ErrNoVictim
}

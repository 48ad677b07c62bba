package emulate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
)

// TestMain lets the test binary run as the attempts and the victims, as cmd/shimward does.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "emulate" {
		runtime.LockOSThread() // as in cmd/shimward
		if err := stage(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			if errno := Errno(err); errno != 0 {
				os.Exit(errno)
			}
			os.Exit(2)
		}
		return
	}
	// With the race detector, each of the many processes that start here would sleep for a second
	// when it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	m.Run()
}

func self() []string { return []string{"test", "emulate"} }

func stage(args []string) error {
	switch args[0] {
	case "strike":
		return Strike(os.Stdin, os.Stdout)
	case "give":
		pid, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return Give(pid, 3)
	case "victim":
		return stageVictim(args[1:])
	default:
		return fmt.Errorf("no stage %q", args[0])
	}
}

func stageVictim(args []string) error {
	options := VictimOptions{Command: append(self(), "victim"), Out: os.Stdout}
	var planted Victim
	double := false
	for _, argument := range args {
		var err error
		switch flag, value, _ := strings.Cut(argument, "="); flag {
		case "--json":
			options.JSON = true
		case "--double":
			double = true
		case "--stop-fd":
			options.Stop, err = strconv.Atoi(value)
		case "--address":
			options.Planted = &planted
			planted.Address, err = strconv.ParseUint(value, 0, 64)
		case "--sha256":
			planted.SHA256 = value
		case "--memfd":
			planted.MemFD, err = strconv.Atoi(value)
		case "--shm":
			planted.ShmFD, err = strconv.Atoi(value)
		case "--uffd":
			planted.UserFD, err = strconv.Atoi(value)
		case "--mem":
			planted.OwnMem, err = strconv.Atoi(value)
		case "--parent":
			options.Parent = true
		}
		if err != nil {
			return err
		}
	}
	if double {
		return RunDouble(planted, os.Stdin)
	}
	return RunVictim(context.Background(), options)
}

func attack(t *testing.T, options Options) *Report {
	t.Helper()
	options.Self, options.Timeout, options.Stderr = self(), 30*time.Second, os.Stderr
	if options.Vectors == nil {
		options.Vectors = Vectors()
	}
	report, err := Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// outside starts a victim that is unrelated to any attempt.
func outside(t *testing.T) Victim {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command, announced, err := victimCommand(self(), read)
	if err != nil {
		t.Fatal(err)
	}
	news, err := announced(command.Start())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(write.Close(), read.Close(), command.Wait()); err != nil {
			t.Error(err)
		}
	})
	first := <-news
	if first.err != nil {
		t.Fatal(first.err)
	}
	return first.victim
}

// wantThrough checks that nothing but the kernel's own rules stops the attempts here: an attack
// that fails without shimward proves nothing.
func wantThrough(t *testing.T, report *Report) {
	t.Helper()
	for _, result := range report.Results {
		switch {
		case result.Outcome == OutcomeUnsupported:
			t.Logf("%s: %s", result.Name, result.detail())
		case result.Name == "process-madvise" && !report.Attacker.SysNice:
			t.Logf("%s: %s", result.Name, result.detail())
		case !result.Through():
			t.Errorf("%s: %s at %q, %s", result.Name, result.Outcome, result.Step, result.detail())
		case result.Goal == GoalSecret && !result.Got, result.Goal == GoalChange && !result.Changed:
			t.Errorf("%s: got through without what it was after: %s", result.Name, result.detail())
		}
	}
}

func requireNoYama(t *testing.T) {
	t.Helper()
	facts, err := attacker()
	if err != nil {
		t.Fatal(err)
	}
	if !facts.SysPtrace && facts.Yama != nil && *facts.Yama > 0 {
		testenv.Elsewhere(t, fmt.Sprintf("Yama's ptrace_scope is %d, and there is no CAP_SYS_PTRACE", *facts.Yama))
	}
}

func TestEveryVectorGetsThrough(t *testing.T) {
	requireNoYama(t)
	t.Run("sibling", func(t *testing.T) { wantThrough(t, attack(t, Options{})) })
	t.Run("child", func(t *testing.T) { wantThrough(t, attack(t, Options{Child: true})) })
	t.Run("outside", func(t *testing.T) {
		victim := outside(t)
		wantThrough(t, attack(t, Options{Victim: &victim}))
	})
}

func TestGivenMemFile(t *testing.T) {
	requireNoYama(t)
	victim := outside(t)
	mem, err := os.Open(memPath(victim.PID))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	t.Cleanup(func() {
		if err := errors.Join(mem.Close(), far.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := GiveTo(victim.PID, func() (*os.File, error) { return near, nil }); err != nil {
		t.Fatal(err)
	}
	vectors, err := Select([]string{"mem-inherited", "mem-scm-rights"})
	if err != nil {
		t.Fatal(err)
	}
	report := attack(t, Options{Victim: &victim, Vectors: vectors, MemFile: mem, Socket: far})
	wantThrough(t, report)
	for _, result := range report.Results {
		if strings.Contains(result.Step, "open") {
			t.Errorf("%s opened something: %s", result.Name, result.Step)
		}
	}
}

// The judge must not believe an attempt that says it succeeded.
func TestWrongSecretIsNotSuccess(t *testing.T) {
	requireNoYama(t)
	victim := outside(t)
	victim.Address += 512 // within the page, but not the secret: zeros
	vectors, err := Select([]string{"proc-mem-read", "process-vm-readv", "proc-mem-write"})
	if err != nil {
		t.Fatal(err)
	}
	report := attack(t, Options{Victim: &victim, Vectors: vectors})
	if report.Through() {
		t.Errorf("attempts at the wrong place got through: %+v", report.Results)
	}
	for _, result := range report.Results {
		if result.Outcome != OutcomeFailed {
			t.Errorf("%s: %s, want failed", result.Name, result.Outcome)
		}
	}
}

func TestVictimGone(t *testing.T) {
	vectors, err := Select([]string{"proc-mem-read", "process-vm-readv"})
	if err != nil {
		t.Fatal(err)
	}
	report := attack(t, Options{Victim: &Victim{PID: 1 << 22, Address: lowest, SHA256: digest(nil)}, Vectors: vectors})
	for _, result := range report.Results {
		if result.Outcome != OutcomeFailed {
			t.Errorf("%s at nobody: %s", result.Name, result.Outcome)
		}
	}
}

func TestRender(t *testing.T) {
	vectors, err := Select([]string{"self-mem-write"})
	if err != nil {
		t.Fatal(err)
	}
	report := attack(t, Options{Vectors: vectors})
	var text, object bytes.Buffer
	if err := errors.Join(report.WriteText(&text), report.WriteJSON(&object)); err != nil {
		t.Fatal(err)
	}
	if want := "1 of 1 attempts got through"; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in:\n%s", want, text.String())
	}
	if want := `"changed_memory": true`; !strings.Contains(object.String(), want) {
		t.Errorf("no %q in:\n%s", want, object.String())
	}
}

func TestSelect(t *testing.T) {
	if vectors, err := Select([]string{"kcmp", "proc-mem-read"}); err != nil || len(vectors) != 2 || vectors[0].Name != "proc-mem-read" {
		t.Errorf("got %v, %v", vectors, err)
	}
	for _, names := range [][]string{nil, {"no-such"}, {"kcmp", "no-such"}} {
		if _, err := Select(names); err == nil {
			t.Errorf("Select(%q) succeeded", names)
		}
	}
}

func TestDescribeRefusesOthers(t *testing.T) {
	if victim, err := Describe(os.Getpid()); err == nil {
		t.Errorf("took itself for a victim: %+v", victim)
	}
}

// docs/threat-model.md says that procfs hands out no handle that opens one of its files.
func TestProcfsHasNoHandles(t *testing.T) {
	const handleFID = 0x200 // AT_HANDLE_FID: a handle that only tells files apart; since Linux 6.5 any file system has those
	dir, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, _, err := unix.NameToHandleAt(int(dir.Fd()), "self/mem", unix.AT_SYMLINK_FOLLOW); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("name_to_handle_at says %v", err)
	}
	handle, _, err := unix.NameToHandleAt(int(dir.Fd()), "self/mem", unix.AT_SYMLINK_FOLLOW|handleFID)
	if err != nil {
		return
	}
	if fd, err := unix.OpenByHandleAt(int(dir.Fd()), handle, unix.O_RDONLY); !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.EPERM) {
		t.Errorf("open_by_handle_at says %d, %v", fd, err)
	}
}

// docs/threat-model.md says that a new user namespace gives access to nobody outside it.
func TestUsernsReachesNobodyOutside(t *testing.T) {
	victim := outside(t)
	proof, err := newProof()
	if err != nil {
		t.Fatal(err)
	}
	defer proof.close()
	s := &striker{Order: Order{Self: self()}, out: json.NewEncoder(io.Discard)}
	for _, name := range []string{"ptrace-attach", "process-vm-readv"} {
		err := s.inUserns(Order{Vector: name, Victim: victim, Self: self()}, proof.file, os.Stdin)
		if !errors.Is(err, unix.EPERM) || !strings.HasPrefix(err.Error(), "in a user namespace") {
			t.Errorf("%s: %v, want EPERM in the namespace", name, err)
		}
	}
}

//go:build cgo

package seccomp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
)

// callerEnv is the environment variable in which TestMain passes the path of the program compiled
// from testdata/caller.c.
const callerEnv = "SHIMWARD_TEST_CALLER"

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "shimward-caller-")
	if err == nil {
		defer func() { _ = os.RemoveAll(folder) }()
		err = os.Setenv(callerEnv, filepath.Join(folder, "caller"))
	}
	if err != nil {
		panic(err)
	}
	m.Run()
}

// buildCaller compiles testdata/caller.c, once. As cgo is in use, there is a compiler.
func buildCaller(t *testing.T) string {
	t.Helper()
	path := os.Getenv(callerEnv)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	out, err := exec.CommandContext(t.Context(), "gcc", "-O1", "-Wall", "-Werror", "-static", "-pthread", "-o", path, "testdata/caller.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// needRoot skips the test unless it runs as root: only root can read other processes' state, and
// answer as the runtime would.
func needRoot(t *testing.T) {
	t.Helper()
	testenv.Root(t)
}

// process is a container's process, which runs testdata/caller.c.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *bufio.Scanner
}

type processOptions struct {
	profile *specs.LinuxSeccomp // unmerged
	flags   uintptr             // namespaces
	message string              // instead of the runtime's
}

// startProcess starts a process under a merged filter, attached to the listener at path.
func startProcess(t *testing.T, path string, o processOptions) *process {
	t.Helper()
	binary := buildCaller(t)
	merged, _, err := Merge(o.profile, MergeOptions{Socket: path, Architectures: HostArchitectures()})
	if err != nil {
		t.Fatal(err)
	}
	program, err := compile(merged)
	if err != nil {
		t.Fatal(err)
	}
	filter := filepath.Join(t.TempDir(), "filter")
	if err := os.WriteFile(filter, program, 0o600); err != nil {
		t.Fatal(err)
	}
	if o.message == "" {
		text, err := json.Marshal(specs.ContainerProcessState{Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: 4711})
		if err != nil {
			t.Fatal(err)
		}
		o.message = string(text)
	}
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, filter, path, o.message)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: o.flags}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	_ = out.Close()
	p := &process{t: t, cmd: cmd, stdin: stdin, stdout: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdout.Close()
	})
	if !p.stdout.Scan() || p.stdout.Text() != "ready" {
		t.Fatalf("the caller said %q", p.stdout.Text())
	}
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// say sends a line and returns its result and errno.
func (p *process) say(format string, args ...any) (int, syscall.Errno) {
	p.t.Helper()
	p.send(format, args...)
	return p.hear()
}

func (p *process) send(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.stdin, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) hear() (int, syscall.Errno) {
	p.t.Helper()
	var result, errno int
	if !p.stdout.Scan() {
		return -1, unix.EPIPE // it was killed
	}
	if _, err := fmt.Sscan(p.stdout.Text(), &result, &errno); err != nil {
		p.t.Fatalf("the caller said %q", p.stdout.Text())
	}
	return result, syscall.Errno(errno)
}

func (p *process) must(format string, args ...any) int {
	p.t.Helper()
	result, errno := p.say(format, args...)
	if errno != 0 || result < 0 {
		p.t.Fatalf("%s: %d, %v", fmt.Sprintf(format, args...), result, errno)
	}
	return result
}

// host returns a child's pid in the test's namespace, given its pid in its parent's.
func (p *process) host(inside int) int {
	p.t.Helper()
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.pid(), p.pid()))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, field := range strings.Fields(string(list)) {
		var pid int
		if _, err := fmt.Sscan(field, &pid); err != nil {
			p.t.Fatal(err)
		}
		s, err := procfs("/proc").status(pid)
		if err != nil {
			p.t.Fatal(err)
		}
		if s.inside[len(s.inside)-1] == inside {
			return pid
		}
	}
	p.t.Fatalf("no child %d in %s", inside, list)
	return 0
}

// judgeFunc is a Decider made of a function, and records what it was asked.
type judgeFunc struct {
	decide func(context.Context, Call) Answer
	mu     sync.Mutex
	asked  []Call // guarded by mu
}

func (j *judgeFunc) Decide(ctx context.Context, call Call) Answer {
	j.mu.Lock()
	j.asked = append(j.asked, call)
	decide := j.decide
	j.mu.Unlock()
	return decide(ctx, call)
}

// calls returns the Calls asked since it was last called.
func (j *judgeFunc) calls() []Call {
	j.mu.Lock()
	defer j.mu.Unlock()
	asked := j.asked
	j.asked = nil
	return asked
}

func (j *judgeFunc) set(decide func(context.Context, Call) Answer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decide = decide
}

func always(a Answer) func(context.Context, Call) Answer {
	return func(context.Context, Call) Answer { return a }
}

// served is a running Listener.
type served struct {
	*Listener
	*judgeFunc
	path    string
	reports chan error
	ended   chan error
	done    chan struct{}
}

func serve(t *testing.T, o ListenOptions, answer Answer) *served {
	t.Helper()
	needRoot(t)
	s := &served{
		judgeFunc: &judgeFunc{decide: always(answer)},
		path:      filepath.Join(t.TempDir(), "private", "notify.sock"),
		reports:   make(chan error, 100),
		ended:     make(chan error, 100),
		done:      make(chan struct{}),
	}
	o.Report = func(err error) { s.reports <- err }
	o.Ended = func(process int, err error) { s.ended <- fmt.Errorf("process %d: %w", process, err) }
	if o.SharesFiles == nil {
		o.SharesFiles = func(int) bool { return false }
	}
	l, err := Listen(s.path, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Listener = l
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(s.done)
		l.Serve(ctx, s)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-s.done:
		case <-time.After(10 * time.Second):
			t.Error("Serve does not return")
		}
		s.quiet(t)
		if n := len(s.workers) + len(s.closers); n != 0 {
			t.Errorf("%d workers or files are left", n)
		}
		if _, err := os.Lstat(s.path); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return s
}

// quiet fails the test if the Listener reported anything.
func (s *served) quiet(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.reports:
		t.Errorf("reported: %v", err)
	case err := <-s.ended:
		t.Errorf("ended: %v", err)
	default:
	}
}

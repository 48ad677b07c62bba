package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Request is one run of a suite.
type Request struct {
	Suite   string
	Runtime Runtime
	Only    []string // names of top-level tests; empty: all
	Tools   Tools
	Dir     string // for everything that is written
}

// Run runs a suite in the room that this process is in (Inside). What the suite
// came to is in its reports; that its tests fail is no error.
func Run(ctx context.Context, request Request) error {
	suite, err := Find(request.Suite)
	if err != nil {
		return err
	}
	r := &room{dir: request.Dir, tools: request.Tools, runtime: request.Runtime, limit: suite.Limit}
	for _, dir := range []string{r.reports(), r.work()} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // reports are for everybody
			return err
		}
	}
	if err := r.furnish(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, suite.Limit+2*time.Minute)
	defer cancel()
	if err := r.serveImages(ctx); err != nil {
		return err
	}
	if err := r.writeImageList(); err != nil {
		return err
	}
	if suite.containerd {
		if err := r.keepContainerd(ctx); err != nil {
			return err
		}
	}
	// The client suite has a runc keep its state here, and this room's /tmp is the machine's.
	const left = "/tmp/runc-test"
	if _, err := os.Lstat(left); errors.Is(err, os.ErrNotExist) {
		defer os.RemoveAll(left) //nolint:errcheck // an empty folder is no harm
	}
	commands, err := suite.commands(r, request.Only)
	if err != nil {
		return err
	}
	for _, c := range commands {
		if err := r.log(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// log runs a command. What it says, and how it ended, is in its log.
func (r *room) log(ctx context.Context, c command) error {
	log, err := os.Create(filepath.Join(r.reports(), c.log))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the command wrote it, not this process
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	cmd := r.cmd(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = r.work()
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		_, err = fmt.Fprintf(log, "\n%s%s\n", ended, failed)
	}
	return err
}

// ended begins the line that says how a command that failed ended.
const ended = "peers: it ended with "

func (r *room) cmd(ctx context.Context, name string, args ...string) *exec.Cmd {
	if !strings.Contains(name, "/") {
		name = filepath.Join(r.bin(), name)
	}
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // running the suites is the point
	cmd.Env = r.env()
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// keepContainerd starts containerd and starts it again whenever the suite ends it, until ctx is done.
func (r *room) keepContainerd(ctx context.Context) error {
	log, err := os.Create(filepath.Join(r.reports(), "containerd.log"))
	if err != nil {
		return err
	}
	start := func() (*exec.Cmd, error) {
		cmd := r.cmd(ctx, r.containerd(), "--log-level=debug", "--config="+r.containerdConfig(), "--address="+socket,
			"--state=/run/containerd-test", "--root=/var/lib/containerd-test")
		cmd.Stdout, cmd.Stderr = log, log
		return cmd, cmd.Start()
	}
	cmd, err := start()
	if err != nil {
		return fmt.Errorf("start the room's containerd: %w", err)
	}
	go func() {
		defer log.Close() //nolint:errcheck // containerd wrote it, not this process
		for err := error(nil); err == nil; cmd, err = start() {
			_ = cmd.Wait()
			select {
			case <-ctx.Done():
				return
			case <-time.After(4 * time.Second): // tests want to see it gone, and look once a second
			}
		}
	}()
	return r.ready(ctx)
}

func (r *room) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		out, err := r.cmd(ctx, filepath.Join(r.tools.Engines, "ctr"), "--address="+socket, "version").CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the room's containerd: %w: %s", err, out)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Read returns what a run came to, and keeps its logs in the folder to.
func Read(request Request, to string) ([]Result, error) {
	suite, err := Find(request.Suite)
	if err != nil {
		return nil, err
	}
	from := filepath.Join(request.Dir, "reports")
	if err := os.RemoveAll(to); err != nil {
		return nil, err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return nil, fmt.Errorf("keep the logs: %w", err)
	}
	results, err := suite.results(to)
	if err == nil && len(results) == 0 {
		err = errors.New("no test ran")
	}
	if err != nil {
		return nil, fmt.Errorf("%s under %s (its log is in %s): %w%s", suite.Name, request.Runtime, to, err, tail(filepath.Join(to, suiteLog)))
	}
	return results, nil
}

func tail(path string) string {
	file, err := os.Open(path) //nolint:gosec // a log of ours
	if err != nil {
		return ""
	}
	defer file.Close() //nolint:errcheck // only read from
	if info, err := file.Stat(); err == nil && info.Size() > 2000 {
		_, _ = file.Seek(-2000, io.SeekEnd)
	}
	text, _ := io.ReadAll(file)
	return ":\n" + string(text)
}

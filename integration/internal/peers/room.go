package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// room is where a suite runs: mount and network namespaces and a cgroup of its
// own. Suites write to fixed places (/run/containerd-test, /etc/cni, port 443 of
// names that are not theirs); here none of them is the machine's.
type room struct {
	dir     string // everything that is written on disk
	tools   Tools
	runtime Runtime
	limit   time.Duration
	digest  string // of the busybox image, for who pulls by digest
}

// socket is of the room's containerd, where the suites have it.
const socket = "/run/containerd/containerd.sock"

// temporary is for temporary files. Tests make sockets in there, of names that are
// as long as they can be where it is /tmp; but in /tmp are this room's own things.
const temporary = "/srv"

// stages of entering a room: each is a namespace that the one before could not be in yet.
const (
	stageMounts = "peers-mounts" // has mount and network namespaces, moves to its cgroup
	stageCgroup = "peers-cgroup" // has a cgroup namespace, runs the suite
)

// Enter runs the suite in a room. It returns when nothing of the room is left.
// The command that calls it must call Inside first thing.
func Enter(ctx context.Context, dir string, args ...string) (err error) {
	groups, err := makeCgroups(filepath.Base(dir))
	if err != nil {
		return errors.Join(err, groups.remove(context.WithoutCancel(ctx)))
	}
	defer func() { err = errors.Join(err, groups.remove(context.WithoutCancel(ctx))) }()
	return reexec(ctx, syscall.CLONE_NEWNS|syscall.CLONE_NEWNET, stageMounts, append(groups.dirs(), append([]string{"--"}, args...)...))
}

// Inside goes on with entering a room, if that is what this process was started
// for: it says so, and then run is what is to happen there.
func Inside(ctx context.Context, args []string, run func(ctx context.Context, args []string) error) (bool, error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case stageMounts:
		var groups, rest []string
		for i, arg := range args {
			if arg == "--" {
				groups, rest = args[1:i], args[i+1:]
				break
			}
		}
		for _, dir := range groups {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
				return true, fmt.Errorf("move to the room's cgroup: %w", err)
			}
		}
		return true, reexec(ctx, syscall.CLONE_NEWCGROUP, stageCgroup, rest)
	case stageCgroup:
		return true, run(ctx, args[1:])
	}
	return false, nil
}

func reexec(ctx context.Context, namespaces uintptr, stage string, args []string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{stage}, args...)...) //nolint:gosec // this program
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

// furnish mounts what the room has of its own. It is called in the room's namespaces.
func (r *room) furnish(ctx context.Context) error {
	// Private, so that nothing gets out; then shared again, as the root of a machine is.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mounts shared in the room: %w", err)
	}
	if err := remountCgroups(); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount the room's /run: %w", err)
	}
	if err := unix.Mount("bpf", "/sys/fs/bpf", "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return fmt.Errorf("mount the room's bpffs: %w", err)
	}
	for _, dir := range []string{"/etc", "/opt", "/var"} {
		if err := r.overlay(dir); err != nil {
			return err
		}
	}
	// containerd's root is here, and an overlay cannot be the upper layer of another.
	for _, dir := range []string{"/var/lib", temporary} {
		if err := r.bind(dir); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("bring the room's loopback up: %w: %s", err, out)
	}
	return r.writeFiles()
}

func (r *room) overlay(dir string) error {
	upper, work := filepath.Join(r.dir, "upper", dir), filepath.Join(r.dir, "work", dir)
	for _, made := range []string{upper, work} {
		if err := os.MkdirAll(made, 0o755); err != nil { //nolint:gosec // as the folder that it is laid over
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the room's %s: %w", dir, err)
	}
	return nil
}

func (r *room) bind(dir string) error {
	source := filepath.Join(r.dir, "disk", dir)
	for _, made := range []string{source, dir} {
		if err := os.MkdirAll(made, 0o711); err != nil { //nolint:gosec // as containerd makes it
			return err
		}
	}
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the room's %s: %w", dir, err)
	}
	return nil
}

// env is what the suite, and through it containerd and the shims, are started with.
func (r *room) env() []string {
	path := []string{
		r.bin(), r.tools.Engines,
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
	}
	if r.runtime == Shimward {
		path = append([]string{r.tools.Bin}, path...)
	}
	return []string{
		"PATH=" + strings.Join(path, ":"),
		"HOME=" + r.dir,
		"TMPDIR=" + temporary,
		"SSL_CERT_FILE=" + filepath.Join(r.dir, "registry.pem"),
		"TEST_RUNTIME=" + r.runtime.Type(),
		"RUNTIME=" + r.ociRuntime(),
	}
}

package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/ociruntime"
)

// Options are the inputs that Gather cannot find out by itself.
type Options struct {
	Config string // the config file that was named on the command line, if any
	Path   string // where to look for executables, in the format of $PATH
	Beside string // a folder to search first: that of this binary
}

// Gather collects the facts about this machine.
func Gather(ctx context.Context, options Options) *Facts {
	f := &Facts{UID: os.Geteuid(), Architecture: runtime.GOARCH}
	f.Config, f.ConfigFrom, f.ConfigErr = nodeconfig.Load(options.Config)
	f.Kernel = kernel(f.Config)
	f.Cgroup = cgroup("/proc/self/mountinfo")
	if f.Config != nil {
		f.PinsErr = onBPFFS(f.Config.Paths.BPF)
	}
	f.NotifyErr = notify()

	path := options.Beside + ":" + options.Path
	f.Shim.Path = find("containerd-shim-shimward-v1", path)
	if f.Shim.Path != "" {
		f.Unserved = !served(f.Shim.Path, options.Path, "/proc")
		f.Hook.Path = find("shimward-hook", filepath.Dir(f.Shim.Path))
	}
	f.Containerd = ask(ctx, find("containerd", options.Path), containerdVersion)
	f.Runc = ask(ctx, find("runc", options.Path), runcVersion)
	if f.Config != nil && f.Config.Runc.Path != "" {
		if f.BelowErr = ociruntime.CheckRunc(f.Config.Runc.Path); f.BelowErr == nil {
			f.Below = ask(ctx, f.Config.Runc.Path, runcVersion)
		}
	}
	return f
}

// cgroup finds the v2 hierarchy in a mountinfo file (proc_pid_mountinfo(5)).
func cgroup(mountinfo string) Cgroup {
	var c Cgroup
	mounts, err := os.ReadFile(mountinfo) //nolint:gosec // procfs
	if err != nil {
		return c
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, found := strings.Cut(line, " - ")
		fields, kinds := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(kinds) < 1 {
			continue
		}
		switch kinds[0] {
		case "cgroup2":
			if c.Mount == "" {
				c.Mount = fields[4]
			}
		case "cgroup":
			c.Hybrid = true
		}
	}
	return c
}

// onBPFFS returns an error if a file created at path would not be on a bpffs.
func onBPFFS(path string) error {
	on, err := bpf.OnBPFFS(path)
	if err == nil && !on {
		err = fmt.Errorf("%s is not on a bpffs", path)
	}
	return err
}

// notify checks that the kernel supports SECCOMP_RET_USER_NOTIF (seccomp(2)).
func notify() error {
	const (
		getActionAvail = 2          // SECCOMP_GET_ACTION_AVAIL
		userNotif      = 0x7fc00000 // SECCOMP_RET_USER_NOTIF
	)
	action := uint32(userNotif)
	//nolint:gosec // what a system call takes are addresses
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		return fmt.Errorf("no seccomp user notification: %w", errno)
	}
	return nil
}

// find is exec.LookPath with an explicit search path.
func find(name, path string) string {
	for _, folder := range filepath.SplitList(path) {
		if folder == "" {
			continue
		}
		candidate := filepath.Join(folder, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate
		}
	}
	return ""
}

// ask runs a program with --version and parses the output with read.
func ask(ctx context.Context, path string, read func(string, *Program)) Program {
	p := Program{Path: path}
	if path == "" {
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	output, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		p.Err = fmt.Errorf("asking for its version: %w", err)
		return p
	}
	if read(string(output), &p); p.Version == "" {
		p.Err = fmt.Errorf("its version cannot be determined from %q", strings.TrimSpace(string(output)))
	}
	return p
}

// containerdVersion parses "containerd github.com/containerd/containerd/v2 v2.4.2 <commit>".
func containerdVersion(output string, p *Program) {
	if fields := strings.Fields(output); len(fields) >= 3 && fields[0] == "containerd" {
		p.Version = fields[2]
	}
}

// runcVersion parses the lines "runc version 1.5.2" and "libseccomp: 2.5.4".
func runcVersion(output string, p *Program) {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if version, found := strings.CutPrefix(line, "runc version "); found {
			p.Version = version
		}
		if version, found := strings.CutPrefix(line, "libseccomp: "); found {
			p.Seccomp = version
		}
	}
}

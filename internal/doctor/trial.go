package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

// loaded returns the tier of the programs that already guard containers in this boot. The error is
// fs.ErrNotExist if none have been loaded.
func loaded(paths policy.Paths) (access.Tier, error) {
	node, err := bpf.Open(bpf.NodeOptions{Paths: paths})
	if err != nil {
		return 0, err
	}
	return node.Tier(), node.Close()
}

// trial loads and attaches shimward's own programs, as the first container of a boot does, and
// unloads them again. Package bpf counts that as a success only after the programs have seen
// something.
//
// The pins are on a bpffs in a mount namespace that only this thread is in and that ends with the
// thread. Nobody else sees the pins, and nothing is left behind, even if doctor is killed.
func trial() (access.Tier, error) {
	type outcome struct {
		tier access.Tier
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		// Never unlocked, so that the thread ends with this function.
		runtime.LockOSThread()
		tier, err := tryAlone()
		done <- outcome{tier, err}
	}()
	o := <-done
	return o.tier, o.err
}

func tryAlone() (tier access.Tier, err error) {
	dir, err := os.MkdirTemp("", "shimward-doctor-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return 0, fmt.Errorf("a mount namespace of its own: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, fmt.Errorf("a mount namespace of its own: %w", err)
	}
	paths := policy.Paths{Run: filepath.Join(dir, "run"), BPF: filepath.Join(dir, "bpf"), Log: filepath.Join(dir, "log")}
	if err := os.Mkdir(paths.BPF, 0o700); err != nil {
		return 0, err
	}
	if err := unix.Mount("bpf", paths.BPF, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return 0, fmt.Errorf("mount a bpffs: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(paths.BPF, unix.MNT_DETACH)) }()
	node, err := bpf.Ensure(bpf.NodeOptions{Paths: paths})
	if err != nil {
		return 0, err
	}
	return node.Tier(), node.Close()
}

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

// HookBinary is the name of the binary that the hooks start.
const HookBinary = "shimward-hook"

// FindHook returns the absolute path of the binary that the hooks start. It is beside the shim or,
// if a client names a copy of the shim only (runtime_path), in containerd's PATH, where the shim
// finds runc, too.
func FindHook(shim string) (string, error) {
	path := filepath.Join(filepath.Dir(shim), HookBinary)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		beside := path
		// LookPath returns an error for a relative entry of PATH, which would be relative to the
		// bundle here.
		if path, err = exec.LookPath(HookBinary); err != nil || !filepath.IsAbs(path) {
			return "", fmt.Errorf("%s is missing: install it beside containerd-shim-shimward-v1 and shimward, or in containerd's PATH; the container's hooks start it", beside)
		}
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("look for the binary of the container's hooks: %w", err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return "", fmt.Errorf("%s is not an executable file: install it again, the container's hooks start it", path)
	}
	return path, nil
}

// CheckNode returns an error if no container can be guarded on this node. Whether a container's own
// cgroup is visible from here is for its createRuntime hook to find out.
func CheckNode(paths policy.Paths) error {
	if err := bpf.CheckCgroup2(); err != nil {
		return fmt.Errorf("look for cgroup v2: %w", err)
	}
	if on, err := bpf.OnBPFFS(paths.BPF); err != nil {
		return err
	} else if !on {
		return fmt.Errorf("%s is not on a BPF file system: run `mount -t bpf bpf %s`, and make sure that it is mounted at boot", paths.BPF, mountPoint(paths.BPF))
	}
	return nil
}

// mountPoint returns where a BPF file system is best mounted for pins at path.
func mountPoint(path string) string {
	const usual = "/sys/fs/bpf"
	if path == usual || filepath.Dir(path) == usual {
		return usual
	}
	return filepath.Dir(path)
}

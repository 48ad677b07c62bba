package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
)

// served reports whether a containerd finds the shim, either directly or through a link to it. It
// looks in path, the PATH that doctor was given, which a containerd started from here would have;
// and where each running containerd looks: in its own PATH and in the folder of its binary
// (containerd, core/runtime/v2, resolveRuntimePath).
func served(shim, path, proc string) bool {
	lookedIn := filepath.SplitList(path)
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		names = nil // ErrBadPattern is impossible with this pattern
	}
	for _, name := range names {
		process := filepath.Dir(name)
		if comm, err := os.ReadFile(name); err != nil || string(comm) != "containerd\n" { //nolint:gosec // procfs
			continue
		}
		if exe, err := os.Readlink(filepath.Join(process, "exe")); err == nil {
			lookedIn = append(lookedIn, filepath.Dir(exe))
		}
		environ, _ := os.ReadFile(filepath.Join(process, "environ")) //nolint:gosec // procfs; of one that ended there is none
		for _, variable := range bytes.Split(environ, []byte{0}) {
			if value, is := bytes.CutPrefix(variable, []byte("PATH=")); is {
				lookedIn = append(lookedIn, filepath.SplitList(string(value))...)
			}
		}
	}
	wanted, err := os.Stat(shim)
	return err == nil && slices.ContainsFunc(lookedIn, func(folder string) bool {
		info, err := os.Stat(filepath.Join(folder, filepath.Base(shim)))
		return err == nil && os.SameFile(info, wanted)
	})
}

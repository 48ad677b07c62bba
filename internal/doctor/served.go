package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
)

// served tells whether a containerd finds a shim, by a link to it or by itself: in the PATH
// that doctor was given, as one that is started from here has it, or where one that runs
// looks. That is its own PATH, and beside its binary (containerd, core/runtime/v2,
// resolveRuntimePath).
func served(shim, path, proc string) bool {
	lookedIn := filepath.SplitList(path)
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		names = nil // the pattern is sound
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

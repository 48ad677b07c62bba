package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// Ensure opens the node-wide part. If that has not been done since the last boot, it first loads,
// attaches and pins it.
func Ensure(options NodeOptions) (*Node, error) {
	node, err := Open(options)
	if !errors.Is(err, fs.ErrNotExist) {
		return node, err
	}
	unlock, err := lock(options.Paths)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another process may have loaded it while this one waited.
	if node, err := Open(options); !errors.Is(err, fs.ErrNotExist) {
		return node, err
	}
	if err := load(options.Paths); err != nil {
		return nil, fmt.Errorf("load the eBPF programs: %w", err)
	}
	return Open(options)
}

// lock takes the node's lock and returns a function that releases it. The lock also ends with the
// process.
func lock(paths policy.Paths) (func(), error) {
	if err := os.MkdirAll(paths.Run, 0o700); err != nil {
		return nil, fmt.Errorf("lock the node: %w", err)
	}
	file, err := os.OpenFile(paths.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the node: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		shut(file)
		return nil, fmt.Errorf("lock the node: %w", err)
	}
	return func() { shut(file) }, nil
}

// OnBPFFS reports whether a path is on a BPF file system. If the path does not exist, the nearest
// existing parent directory counts.
func OnBPFFS(path string) (bool, error) {
	for at := path; ; at = filepath.Dir(at) {
		var stat unix.Statfs_t
		err := unix.Statfs(at, &stat)
		if errors.Is(err, unix.ENOENT) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", at, err)
		}
		return stat.Type == unix.BPF_FS_MAGIC, nil
	}
}

// load builds the directory of node-wide pins under a temporary name that nobody opens, and renames
// it once everything works, so a crash in between does not leave a partial node.
func load(paths policy.Paths) (err error) {
	if on, err := OnBPFFS(paths.BPF); err != nil {
		return err
	} else if !on {
		return fmt.Errorf("%s is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, "+
			"or set paths.bpf in the config to a folder on one", paths.BPF)
	}
	fresh := filepath.Join(paths.BPF, freshNode)
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(fresh))
		}
	}()
	if err := loadInto(fresh); err != nil {
		return err
	}
	return os.Rename(fresh, nodeDir(paths))
}

func loadInto(dir string) error {
	settings, err := learnSettings()
	if err != nil {
		return err
	}
	spec, err := loadKernel()
	if err != nil {
		return err
	}
	if err := spec.Variables["node"].Set(settings); err != nil {
		return fmt.Errorf("set what was learned of the node: %w", err)
	}
	delete(spec.Programs, programLearnNode)
	withoutLSM := spec.Copy()
	for _, name := range lsmPrograms {
		delete(withoutLSM.Programs, name)
	}
	if takesLSM() {
		err := loadSpec(dir, spec, true)
		if !errors.Is(err, errNoLSM) {
			return err
		}
		if err := empty(dir); err != nil {
			return err
		}
	}
	return loadSpec(dir, withoutLSM, false)
}

// loadSpec loads, pins and attaches everything in spec. With lsm, the error wraps errNoLSM if the
// kernel does not accept the programs.
func loadSpec(dir string, spec *ebpf.CollectionSpec, lsm bool) error {
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		if lsm {
			return errors.Join(errNoLSM, err)
		}
		return explain(err)
	}
	defer collection.Close()
	if lsm {
		if err := attachLSM(collection, dir); err != nil {
			return err
		}
	}
	for name, m := range collection.Maps {
		if strings.HasPrefix(name, ".") {
			continue // constants: the programs reference them
		}
		if err := m.Pin(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("pin the map %s: %w", name, err)
		}
	}
	pinned := calledPrograms[:]
	for _, flow := range flowPrograms {
		pinned = append(pinned, flow.name)
	}
	for _, name := range pinned {
		if err := collection.Programs[name].Pin(filepath.Join(dir, pinProgram(name))); err != nil {
			return fmt.Errorf("pin the program %s: %w", name, err)
		}
	}
	for _, name := range tracingPrograms {
		if err := attach(collection.Programs[name], filepath.Join(dir, pinLink(name))); err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
	}
	return prove(collection)
}

func attach(program *ebpf.Program, pin string) error {
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return err
	}
	defer shut(attached)
	return attached.Pin(pin)
}

// empty removes the contents of the directory.
func empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

// learnSettings loads and runs the one program that must run before the others are loaded.
func learnSettings() (kernelSettings, error) {
	spec, err := loadKernel()
	if err != nil {
		return kernelSettings{}, err
	}
	for name := range spec.Programs {
		if name != programLearnNode {
			delete(spec.Programs, name)
		}
	}
	for name := range spec.Maps {
		if name[0] != '.' {
			delete(spec.Maps, name)
		}
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return kernelSettings{}, explain(err)
	}
	defer collection.Close()
	return learn(collection.Programs[programLearnNode])
}

// explain reduces a verifier error to the end of its log, which has the reason, instead of
// thousands of lines.
func explain(err error) error {
	if verifier := (*ebpf.VerifierError)(nil); errors.As(err, &verifier) {
		return fmt.Errorf("the kernel does not take a program: %w", err)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("not permitted: root with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN is needed: %w", err)
	}
	return err
}

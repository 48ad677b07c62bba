package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// CountMaps counts the kernel's BPF maps whose name, as truncated by the kernel, satisfies named.
func CountMaps(named func(string) bool) (int, error) {
	return count(ebpf.MapGetNextID, mapName, named)
}

// CountPrograms counts the kernel's BPF programs whose name, as truncated by the kernel, satisfies
// named.
func CountPrograms(named func(string) bool) (int, error) {
	return count(ebpf.ProgramGetNextID, programName, named)
}

// CountLinks counts the kernel's BPF links whose program's name satisfies named.
func CountLinks(named func(string) bool) (n int, err error) {
	var links link.Iterator
	defer links.Close()
	for links.Next() {
		info, err := links.Link.Info()
		if err != nil {
			return 0, fmt.Errorf("ask for the program of a BPF link: %w", err)
		}
		name, err := programName(info.Program)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("ask for the name of a BPF program: %w", err)
		}
		if err == nil && named(name) {
			n++
		}
	}
	return n, links.Err()
}

func count[ID ebpf.MapID | ebpf.ProgramID](next func(ID) (ID, error), name func(ID) (string, error), named func(string) bool) (n int, err error) {
	for id := ID(0); ; {
		if id, err = next(id); errors.Is(err, fs.ErrNotExist) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("list BPF objects: %w", err)
		}
		is, err := name(id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed since
		case err != nil:
			return 0, fmt.Errorf("ask for the name of a BPF object: %w", err)
		case named(is):
			n++
		}
	}
}

func mapName(id ebpf.MapID) (string, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return "", err
	}
	defer m.Close() //nolint:errcheck // only queried
	info, err := m.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

func programName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer p.Close() //nolint:errcheck // only queried
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

// PinnedMemory returns the kernel memory of a pinned object in bytes, as its fdinfo reports it. It
// is zero for a link, which has no memory of its own to speak of.
func PinnedMemory(path string) (int64, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	// The member of union bpf_attr for BPF_OBJ_GET.
	attr := struct {
		path      uint64
		fd, flags uint32
	}{path: uint64(uintptr(unsafe.Pointer(name)))} //nolint:gosec // bpf(2) takes a pointer
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)) //nolint:gosec // the same
	runtime.KeepAlive(name)
	if errno != 0 {
		return 0, fmt.Errorf("open the pin %s: %w", path, errno)
	}
	defer unix.Close(int(fd)) //nolint:errcheck // only queried
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, fmt.Errorf("ask for the memory of the pin %s: %w", path, err)
	}
	for line := range strings.Lines(string(info)) {
		if text, ok := strings.CutPrefix(line, "memlock:"); ok {
			return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		}
	}
	return 0, nil
}

package node

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ObjectKind is a kind of BPF object, by the command of bpf(2) that gives the next one's ID.
type ObjectKind uintptr

// The kinds.
const (
	Programs ObjectKind = unix.BPF_PROG_GET_NEXT_ID
	Maps     ObjectKind = unix.BPF_MAP_GET_NEXT_ID
	Links    ObjectKind = unix.BPF_LINK_GET_NEXT_ID
)

// CountObjects counts what the kernel has of a kind, whoever it is of.
func CountObjects(kind ObjectKind) (int, error) {
	// union bpf_attr's member for these commands (include/uapi/linux/bpf.h).
	var attr struct{ start, next, flags uint32 }
	for count := 0; ; count++ {
		_, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(kind), uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)) //nolint:gosec // bpf(2) takes a pointer
		switch {
		case errors.Is(errno, unix.ENOENT):
			return count, nil
		case errno != 0:
			return 0, fmt.Errorf("list BPF objects: %w", errno)
		}
		attr.start = attr.next
	}
}

// PinnedMemory is what a pinned object takes of the kernel, in bytes, as its fdinfo
// says: nothing for a link, which has no memory of its own to speak of.
func PinnedMemory(path string) (int64, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	// union bpf_attr's member for BPF_OBJ_GET.
	attr := struct {
		path      uint64
		fd, flags uint32
	}{path: uint64(uintptr(unsafe.Pointer(name)))} //nolint:gosec // bpf(2) takes a pointer
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)) //nolint:gosec // the same
	runtime.KeepAlive(name)
	if errno != 0 {
		return 0, fmt.Errorf("open the pin %s: %w", path, errno)
	}
	defer unix.Close(int(fd)) //nolint:errcheck // only asked
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

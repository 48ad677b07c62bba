package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"

	"github.com/shimward/shimward/access"
)

// Hold keeps everything that guards the container in the kernel until Close, even if its pins are
// removed, the BPF file system is unmounted, or both. It opens every link and map that the
// container depends on. If it fails it keeps what it has opened, and another call continues from
// there.
func (n *Node) Hold(key string) error {
	if _, err := pinnedKey(key); err != nil {
		return err
	}
	for _, name := range []string{mapKeys, mapStates, mapGuards, mapTraffics} {
		if _, err := n.pinned(name); err != nil {
			return err
		}
	}
	if _, err := n.program(programCountSeccomp); err != nil {
		return err
	}
	for _, dir := range []string{n.dir, n.paths.Pins(key)} {
		if err := n.holdLinks(dir); err != nil {
			return fmt.Errorf("open the links in %s: %w", dir, err)
		}
	}
	return nil
}

// holdLinks opens the links that are pinned in a directory and are not held yet.
func (n *Node) holdLinks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, entry := range entries {
		pin := filepath.Join(dir, entry.Name())
		if n.held[pin] != nil || !strings.HasPrefix(entry.Name(), pinLink("")) {
			continue
		}
		opened, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			return err
		}
		n.held[pin] = opened
	}
	return nil
}

// ftraceSwitch is the sysctl that, when cleared, makes the kernel remove all calls that it patched
// into its functions, including those of LSM programs (ftrace_shutdown_sysctl).
const ftraceSwitch = "/proc/sys/kernel/ftrace_enabled"

// ErrFtraceOff means that the kernel does not call LSM programs although they are attached.
var ErrFtraceOff = errors.New("the sysctl kernel.ftrace_enabled is 0, with which the kernel calls no LSM programs")

// FtraceOff returns ErrFtraceOff if the sysctl is 0, and nil otherwise.
func FtraceOff() error {
	value, err := os.ReadFile(ftraceSwitch)
	if err == nil && strings.TrimSpace(string(value)) == "0" {
		return ErrFtraceOff
	}
	return nil // a sysctl that does not exist cannot have been cleared
}

// checkFtrace is like FtraceOff, with advice in the error.
func checkFtrace() error {
	if err := FtraceOff(); err != nil {
		return fmt.Errorf("%w: set it to 1 (sysctl kernel.ftrace_enabled=1), and see who changed it", err)
	}
	return nil
}

// Called returns an error if the LSM programs, which refuse accesses on this node, are no longer
// called.
func (n *Node) Called() error {
	if n.tier != access.TierLSM {
		return nil
	}
	return checkFtrace()
}

// Pinned returns an error that names a missing pin of the node or the container, or nil if the pins
// exist.
func (n *Node) Pinned(key string) error {
	for _, pin := range []string{filepath.Join(n.dir, pinComplete), filepath.Join(n.paths.Pins(key), pinLink(flowPrograms[0].name))} {
		if _, err := os.Stat(pin); err != nil {
			return err
		}
	}
	return nil
}

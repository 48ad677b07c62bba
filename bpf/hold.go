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

// Hold keeps what guards the container in the kernel until Close, also if
// somebody removes its pins, unmounts the BPF file system, or both. It opens
// every link and map that there is for it. Where it fails it keeps what it got,
// and goes on from there when it is called again.
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

// holdLinks opens the links that are pinned in a folder, and are not held yet.
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

// ftraceSwitch is the sysctl that has the kernel take the calls of traced functions out
// again, and with them those of LSM programs (ftrace_shutdown_sysctl).
const ftraceSwitch = "/proc/sys/kernel/ftrace_enabled"

// ErrFtraceOff says that the kernel calls no LSM programs, though they are attached.
var ErrFtraceOff = errors.New("the sysctl kernel.ftrace_enabled is 0, with which the kernel calls no LSM programs")

// FtraceOff is ErrFtraceOff where that is so.
func FtraceOff() error {
	value, err := os.ReadFile(ftraceSwitch)
	if err == nil && strings.TrimSpace(string(value)) == "0" {
		return ErrFtraceOff
	}
	return nil // without the switch nobody can have thrown it
}

// checkFtrace is FtraceOff with what to do about it.
func checkFtrace() error {
	if err := FtraceOff(); err != nil {
		return fmt.Errorf("%w: set it to 1 (sysctl kernel.ftrace_enabled=1), and see who changed it", err)
	}
	return nil
}

// Called is an error where what refuses on this node is not called any more.
func (n *Node) Called() error {
	if n.tier != access.TierLSM {
		return nil
	}
	return checkFtrace()
}

// Pinned is an error that says what is missing of the pins of the node and of the container.
func (n *Node) Pinned(key string) error {
	for _, pin := range []string{filepath.Join(n.dir, pinComplete), filepath.Join(n.paths.Pins(key), pinLink(flowPrograms[0].name))} {
		if _, err := os.Stat(pin); err != nil {
			return err
		}
	}
	return nil
}

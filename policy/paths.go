package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// Paths are the places of what shimward keeps on a node.
type Paths struct {
	Run string `json:"run" toml:"run"` // state that does not outlive the boot; default /run/shimward
	BPF string `json:"bpf" toml:"bpf"` // a directory on bpffs; default /sys/fs/bpf/shimward
	Log string `json:"log" toml:"log"` // the event store; default /var/log/shimward
}

// DefaultPaths returns the paths of a node whose config sets none.
func DefaultPaths() Paths {
	return Paths{Run: "/run/shimward", BPF: "/sys/fs/bpf/shimward", Log: "/var/log/shimward"}
}

// maxRun leaves room for what Notify appends in a socket's path (unix(7): 108 bytes with the NUL).
const maxRun = 107 - len("/containers/") - (maxKeyName + 1 + 2*keySum) - len("/notify.sock")

// check reports whether the paths can be used, not whether they exist.
func (p Paths) check() error {
	named := []struct{ key, value string }{{"run", p.Run}, {"bpf", p.BPF}, {"log", p.Log}}
	for i, path := range named {
		if err := checkPath(path.value); err != nil {
			return fmt.Errorf("paths.%s = %w", path.key, err)
		}
		for _, other := range named[:i] {
			if within(path.value, other.value) || within(other.value, path.value) {
				return fmt.Errorf("paths.%s = %s overlaps paths.%s = %s: write folders apart from each other",
					path.key, quote(path.value), other.key, quote(other.value))
			}
		}
	}
	if len(p.Run) > maxRun {
		return fmt.Errorf("paths.run = %s has %d bytes: write one of at most %d, sockets below it have bounded paths",
			quote(p.Run), len(p.Run), maxRun)
	}
	return nil
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// Lock returns the file that is locked while loading, enrolling and reconciling.
func (p Paths) Lock() string { return filepath.Join(p.Run, "lock") }

// Reconciled returns the file that stores when the node was last reconciled.
func (p Paths) Reconciled() string { return filepath.Join(p.Run, "reconciled") }

// Container returns the folder of a container's state: its Plan and its notify socket.
func (p Paths) Container(key string) string { return filepath.Join(p.Run, "containers", key) }

// Plan returns the file that stores a container's Plan, as JSON.
func (p Paths) Plan(key string) string { return filepath.Join(p.Container(key), "plan.json") }

// Notify returns the socket that the runtime sends the container's seccomp listener to.
func (p Paths) Notify(key string) string { return filepath.Join(p.Container(key), "notify.sock") }

// Host returns the socket of the process that hosts the container, its shim or its monitor. Earlier
// versions' monitors, which had the name for themselves, still listen there. The name is no longer than
// Notify's, so it fits a socket's path too.
func (p Paths) Host(key string) string { return filepath.Join(p.Container(key), "monitor") }

// Pins returns the folder on bpffs that holds the container's kernel objects.
func (p Paths) Pins(key string) string { return filepath.Join(p.BPF, "containers", key) }

// Events returns the folder of a container's part of the event store.
func (p Paths) Events(key string) string { return filepath.Join(p.Log, key) }

const (
	maxKeyName = 12 // characters of the ID
	keySum     = 8  // bytes of the hash
)

// Key returns the name of a container's state: the start of the container's ID, for people to
// recognise, and a hash of its bundle's path, which no two containers of a node share, even under
// two containerds. It has no dot (bpffs refuses those) and is short enough for a socket's path
// (unix(7): 108 bytes).
func Key(id, bundle string) string {
	short := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		default:
			return '_'
		}
	}, id)
	if len(short) > maxKeyName {
		short = short[:maxKeyName]
	}
	sum := sha256.Sum256([]byte(filepath.Clean(bundle)))
	return short + "-" + hex.EncodeToString(sum[:keySum])
}

package bpf

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// ringSize is the size of a container's ring buffer in bytes, enough for about 100 records. The
// shim drains it continuously. A record that does not fit is counted as dropped; its access is not
// allowed for that.
const ringSize = 128 << 10

// Prepare creates the container's ring buffer if there is none. It can be called before the cgroup
// exists, and should be, in parallel with other work: to put a map into a map, the kernel waits for
// an RCU grace period, some milliseconds that would otherwise delay the container's start. Enrol
// calls Prepare too.
func (n *Node) Prepare(key string) error {
	padded, err := pinnedKey(key)
	if err != nil {
		return err
	}
	rings, err := n.pinned(mapRings)
	if err != nil {
		return err
	}
	ring, err := n.pinRing(key)
	if err != nil {
		return fmt.Errorf("make the ring buffer of %s: %w", key, err)
	}
	defer shut(ring)
	id := ringID(padded)
	var there uint32
	if rings.Lookup(id, &there) == nil {
		return nil
	}
	// A concurrent caller has the same ring, because it was pinned first.
	if err := rings.Put(id, ring); err != nil {
		return fmt.Errorf("make the ring buffer of %s: %w", key, err)
	}
	return nil
}

// pinRing opens the container's pinned ring buffer, and creates it if there is none.
func (n *Node) pinRing(key string) (*ebpf.Map, error) {
	pin := filepath.Join(n.paths.Pins(key), pinRing)
	for {
		ring, err := ebpf.LoadPinnedMap(pin, nil)
		if !errors.Is(err, fs.ErrNotExist) {
			return ring, err
		}
		if err := os.MkdirAll(filepath.Dir(pin), 0o700); err != nil {
			return nil, err
		}
		ring, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: ringSize})
		if err != nil {
			return nil, err
		}
		err = ring.Pin(pin)
		if err == nil {
			return ring, nil
		}
		shut(ring)
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

// ringID returns the key of a container's ring buffer in the map rings.
func ringID(key [keyLength]byte) uint64 {
	sum := sha256.Sum256(key[:])
	return binary.NativeEndian.Uint64(sum[:])
}

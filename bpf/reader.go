package bpf

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// ErrFlushed is what Read returns after Flush, when it has returned all that was there.
var ErrFlushed = ringbuf.ErrFlushed

// Reader reads one container's records, in the order in which they were written.
type Reader struct {
	records *ringbuf.Reader
	ring    *ebpf.Map
	raw     ringbuf.Record
}

// Reader opens the ring buffer of an enrolled container. It keeps working until it
// is closed, also when the container is released meanwhile.
func (n *Node) Reader(key string) (*Reader, error) {
	if _, err := pinnedKey(key); err != nil {
		return nil, err
	}
	ring, err := ebpf.LoadPinnedMap(filepath.Join(n.paths.Pins(key), pinRing), nil)
	if err != nil {
		return nil, fmt.Errorf("open the ring buffer of %s: %w", key, err)
	}
	records, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the ring buffer of %s: %w", key, err), ring.Close())
	}
	return &Reader{records: records, ring: ring}, nil
}

// Read waits for the next record. After Close the error wraps os.ErrClosed; after
// any other error of a single record the next can be read. It is not safe for concurrent use.
func (r *Reader) Read() (*Record, error) {
	if err := r.records.ReadInto(&r.raw); err != nil {
		return nil, err
	}
	return parseRecord(r.raw.RawSample)
}

// Flush makes Read return what is there now, and then ErrFlushed once.
func (r *Reader) Flush() error { return r.records.Flush() }

// Close ends a Read that waits.
func (r *Reader) Close() error {
	return errors.Join(r.records.Close(), r.ring.Close())
}

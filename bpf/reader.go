package bpf

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// ErrFlushed is returned by Read after Flush, once all pending records have been returned.
var ErrFlushed = ringbuf.ErrFlushed

// Reader reads one container's records in the order in which they were written.
type Reader struct {
	records *ringbuf.Reader
	ring    *ebpf.Map
	raw     ringbuf.Record
}

// Reader opens the ring buffer of an enrolled container. The returned Reader works until it is
// closed, even if the container is released meanwhile.
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

// Read waits for the next record. After Close, the error wraps os.ErrClosed. Any other error
// concerns a single record, and the next one can be read. Read is not safe for concurrent use.
func (r *Reader) Read() (*Record, error) {
	if err := r.records.ReadInto(&r.raw); err != nil {
		return nil, err
	}
	return parseRecord(r.raw.RawSample)
}

// Flush makes Read return the pending records and then ErrFlushed once.
func (r *Reader) Flush() error { return r.records.Flush() }

// Close closes the Reader and ends a blocked Read.
func (r *Reader) Close() error {
	return errors.Join(r.records.Close(), r.ring.Close())
}

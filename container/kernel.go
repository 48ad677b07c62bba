package container

import (
	"errors"
	"fmt"
	"sync"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
)

// kernel is what a container has in the kernel.
type kernel interface {
	Tier() access.Tier
	// Armed tells whether the container's program runs under guard.
	Armed() (bool, error)
	Flows() ([]event.Flow, error)
	// Dropped is how many records found no room.
	Dropped() (uint64, error)
	// Count counts an attempt that seccomp's listener decided.
	Count(access.Vector, access.Verdict)
	// GuardOf is what a process is guarded with.
	GuardOf(pid int) (bpf.Guard, error)
	// Poses tells whether a process says that it runs another executable than it execed.
	Poses(pid int) (bool, error)
	// HasLease tells whether a process runs an executable that is allowed for a time.
	HasLease(pid int, pod bool) (bool, error)
	// Hold keeps the guard in the kernel until Close, whatever becomes of its pins.
	Hold() error
	// Pinned is an error that says which of the pins are gone.
	Pinned() error
	// Called is an error where the kernel does not call what refuses any more.
	Called() error
	Close() error
}

// enrolled is a container under its key.
type enrolled struct {
	key string

	using sync.RWMutex // held for reading by who uses node, for writing by who closes it
	node  *bpf.Node
}

func openKernel(options bpf.NodeOptions, key string) (*enrolled, *bpf.Reader, error) {
	node, err := bpf.Open(options)
	if err != nil {
		return nil, nil, fmt.Errorf("open shimward's programs: %w", err)
	}
	reader, err := node.Reader(key)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the container's records: %w", err), node.Close())
	}
	return &enrolled{key: key, node: node}, reader, nil
}

// prepareRing makes the container's ring buffer while the runtime makes the rest:
// the kernel takes some milliseconds for it. Where it cannot be made, or nothing
// is loaded yet, the createRuntime hook makes it, and its error is the one that counts.
func (c *Container) prepareRing(undo *Cleanup) {
	done := make(chan struct{})
	undo.Add(func() { <-done })
	c.running.Go(func() {
		defer close(done)
		node, err := bpf.Open(bpf.NodeOptions{Paths: c.plan.Paths})
		if err != nil {
			return
		}
		err = errors.Join(node.Prepare(c.plan.Identity.Key), node.Close())
		if err != nil {
			c.logger(c.context).WithError(err).Debug("shimward: make the ring buffer ahead of the hook")
		}
	})
}

func (e *enrolled) Tier() access.Tier { return e.node.Tier() }

func (e *enrolled) Armed() (bool, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.Armed(e.key)
}

func (e *enrolled) Flows() ([]event.Flow, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	flows, _, err := e.node.Flows(e.key)
	return flows, err
}

func (e *enrolled) Dropped() (uint64, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.Dropped(e.key)
}

func (e *enrolled) Count(vector access.Vector, verdict access.Verdict) {
	e.using.RLock()
	defer e.using.RUnlock()
	e.node.AddSeccompCount(e.key, vector, verdict)
}

func (e *enrolled) GuardOf(pid int) (bpf.Guard, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.GuardOf(pid)
}

func (e *enrolled) Poses(pid int) (bool, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.Poses(pid)
}

func (e *enrolled) HasLease(pid int, pod bool) (bool, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.HasLease(e.key, pid, pod)
}

func (e *enrolled) Hold() error {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.Hold(e.key)
}

func (e *enrolled) Pinned() error {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.Pinned(e.key)
}

func (e *enrolled) Called() error {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.Called()
}

func (e *enrolled) Close() error {
	e.using.Lock()
	defer e.using.Unlock()
	return e.node.Close()
}

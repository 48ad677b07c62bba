package container

import (
	"fmt"
	"sync"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
)

// kernel is a container's state in the kernel.
type kernel interface {
	Tier() access.Tier
	// Armed reports whether the container's program runs under guard.
	Armed() (bool, error)
	Flows() ([]event.Flow, error)
	// Dropped returns how many records found no room in the ring buffer.
	Dropped() (uint64, error)
	// Count counts an attempt that the seccomp listener decided.
	Count(access.Vector, access.Verdict)
	// GuardOf returns a process's guard.
	GuardOf(pid int) (bpf.Guard, error)
	// Poses reports whether a process claims to run another executable than the one that it execed.
	Poses(pid int) (bool, error)
	// SharesFiles reports whether another task has the same descriptor table as the task tid.
	SharesFiles(tid int) (bool, error)
	// HasLease reports whether a process runs an executable that is allowed for a limited time.
	HasLease(pid int, pod bool) (bool, error)
	// Hold keeps the guard in the kernel until Close, even if its pins are removed.
	Hold() error
	// Pinned returns an error that names the missing pins, if any are missing.
	Pinned() error
	// Called returns an error if the kernel no longer calls the programs that refuse accesses.
	Called() error
	Close() error
}

// enrolled is an enrolled container, with its key.
type enrolled struct {
	key string

	using sync.RWMutex // held for reading while node is used, and for writing while it is closed
	node  *bpf.Node
}

func openKernel(node *bpf.Node, key string) (*enrolled, *bpf.Reader, error) {
	reader, err := node.Reader(key)
	if err != nil {
		return nil, nil, fmt.Errorf("open the container's records: %w", err)
	}
	return &enrolled{key: key, node: node}, reader, nil
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

func (e *enrolled) SharesFiles(tid int) (bool, error) {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.node.SharesFiles(tid)
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

package bpf

import (
	"fmt"

	"github.com/shimward/shimward/access"
)

// Counter identifies what is counted separately.
type Counter struct {
	Vector  access.Vector
	Verdict access.Verdict
	Sensor  access.Sensor
}

// Counters returns a container's nonzero counts. They are exact, even if records were dropped. The
// access sensor counts each page that is read or written.
func (n *Node) Counters(key string) (map[Counter]uint64, error) {
	state, err := n.state(key)
	if err != nil {
		return nil, err
	}
	counts := make(map[Counter]uint64)
	for vector := range state.Counts {
		for verdict := range state.Counts[vector] {
			for sensor, count := range state.Counts[vector][verdict] {
				if count > 0 {
					counts[Counter{access.Vector(vector), access.Verdict(verdict), access.Sensor(sensor)}] = count
				}
			}
		}
	}
	return counts, nil
}

// Dropped returns the number of a container's records that did not fit into its ring buffer.
func (n *Node) Dropped(key string) (uint64, error) {
	state, err := n.state(key)
	if err != nil {
		return 0, err
	}
	return state.Dropped, nil
}

// Armed reports whether the container's init has execed and is guarded.
func (n *Node) Armed(key string) (bool, error) {
	state, err := n.state(key)
	if err != nil {
		return false, err
	}
	return state.Started != 0, nil
}

// AddSeccompCount counts an attempt that the container's seccomp listener answered. It does nothing
// if the container has been released meanwhile.
func (n *Node) AddSeccompCount(key string, vector access.Vector, verdict access.Verdict) {
	id, err := n.cgroup(key)
	if err != nil {
		return
	}
	add := kernelTally{Cgroup: id, Vector: uint32(vector), Verdict: uint32(verdict)}
	_ = n.run(programCountSeccomp, &add)
}

// Key returns the key of the container whose cgroup has the given id, such as Process.Cgroup.
func (n *Node) Key(cgroup uint64) (key string, ok bool) {
	keys, err := n.pinned(mapKeys)
	if err != nil {
		return "", false
	}
	var (
		padded [keyLength]byte
		id     uint64
	)
	for entries := keys.Iterate(); entries.Next(&padded, &id); {
		if id == cgroup {
			return unpadded(padded), true
		}
	}
	return "", false
}

func (n *Node) state(key string) (*kernelState, error) {
	id, err := n.cgroup(key)
	if err != nil {
		return nil, err
	}
	states, err := n.pinned(mapStates)
	if err != nil {
		return nil, err
	}
	state := new(kernelState)
	if err := states.Lookup(id, state); err != nil {
		return nil, fmt.Errorf("look up the state of %s: %w", key, notExist(err))
	}
	return state, nil
}

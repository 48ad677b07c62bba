package main

import (
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/guarded"
)

// kernel adapts a bpf.Node to the interface that package guarded needs.
type kernel struct{ *bpf.Node }

// Counts returns a container's counters as a list.
func (k kernel) Counts(key string) ([]guarded.Count, error) {
	counters, err := k.Counters(key)
	if err != nil {
		return nil, err
	}
	counts := make([]guarded.Count, 0, len(counters))
	for counter, count := range counters {
		counts = append(counts, guarded.Count{
			Vector: counter.Vector, Verdict: counter.Verdict, Sensor: counter.Sensor, Count: count,
		})
	}
	return counts, nil
}

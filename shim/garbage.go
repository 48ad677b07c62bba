package shim

import (
	"runtime/debug"
	"time"
)

const (
	// heldPercent limits the garbage: the heap may grow by ten times what is in use.
	heldPercent = 1000
	// heldFor is long enough for the container that the shim is started for, and for a hundred that
	// are started at once. Changing the percentage stops the world, which is not possible while the
	// process forks, and a hundred shims that try to do so take CPU time from each other.
	heldFor = 10 * time.Second
)

// holdGarbage delays the garbage collector while a shim starts. containerd makes its shims collect
// at 40 percent, of a heap that has only begun to grow. That is several collections in the
// milliseconds that the first container waits for, on the CPUs that its runtime needs. The delay
// happens only once in a shim's life, because collections also close descriptors that os.Process
// holds.
func holdGarbage() {
	usual := debug.SetGCPercent(heldPercent)
	time.AfterFunc(heldFor, func() { debug.SetGCPercent(usual) })
}

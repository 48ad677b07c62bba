package shim

import (
	"runtime/debug"
	"time"
)

const (
	// heldPercent bounds what is left lying: ten times what is in use.
	heldPercent = 1000
	// heldFor is long enough for the container that a shim is started for, and for a
	// hundred that are started at once: to change the percentage stops the process, which
	// cannot be stopped while it forks, and a hundred that try take the others' time.
	heldFor = 10 * time.Second
)

// holdGarbage holds the garbage collector back while a shim starts. containerd has
// its shims collect at 40 percent, of a heap that has just begun to grow: several
// times in the milliseconds that the first container waits for, on the processors
// that its runtime needs. It is done once in a shim's life: the collector also closes what
// os.Process has open.
func holdGarbage() {
	usual := debug.SetGCPercent(heldPercent)
	time.AfterFunc(heldFor, func() { debug.SetGCPercent(usual) })
}

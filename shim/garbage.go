package shim

import (
	"runtime/debug"
	"sync"
	"time"
)

// garbage holds the garbage collector back while containers are created and
// started. containerd has its shims collect at 40 percent, of a heap that has just
// begun to grow: several times in the milliseconds that a container waits for, on
// the processors that its runtime needs.
type garbage struct {
	mu    sync.Mutex
	holds int // guarded by mu
	usual int // guarded by mu; the percentage where nobody holds
}

const (
	// heldPercent bounds what is left lying: ten times what is in use.
	heldPercent = 1000
	// heldAfter is how long it stays so afterwards: Start follows upon Create.
	heldAfter = time.Second
)

// hold is to be released, once, when what it was for is done.
func (g *garbage) hold() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holds == 0 {
		g.usual = debug.SetGCPercent(heldPercent)
	}
	g.holds++
	return func() { time.AfterFunc(heldAfter, g.let) }
}

func (g *garbage) let() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds--
	if g.holds == 0 {
		debug.SetGCPercent(g.usual)
	}
}

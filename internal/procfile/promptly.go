package procfile

import (
	"sync/atomic"
	"time"
)

// A process can block a reader of its procfs files for as long as it likes where the answer comes from its
// memory, from a file system of its own, or from a file whose lock it holds. (It can map FUSE pages in the
// place of its arguments, or where an epoll puts events.) A kill does not end such a wait.
const (
	// promptness is how long Promptly waits for a read.
	promptness = 200 * time.Millisecond
	// maxHeldUp bounds the abandoned reads, each of which keeps a thread. Beyond it, Promptly reads
	// nothing.
	maxHeldUp = 8
)

// heldUp counts the abandoned reads.
var heldUp atomic.Int32 //nolint:gochecknoglobals // the threads are of one process

// Promptly returns what read returns, or the zero value if that takes longer than 200 ms or too many
// earlier reads have not returned yet.
func Promptly[T any](read func() T) (result T) {
	if heldUp.Load() >= maxHeldUp {
		return result
	}
	done := make(chan T, 1)
	go func() { done <- read() }()
	patience := time.NewTimer(promptness)
	defer patience.Stop()
	select {
	case result = <-done:
	case <-patience.C:
		heldUp.Add(1)
		go func() {
			<-done
			heldUp.Add(-1)
		}()
	}
	return result
}

package procfile

import (
	"sync/atomic"
	"time"
)

// What proc is asked of a process may have to come from its memory, from a file system
// of its own, or from a file whose lock it holds: then it can have whoever asks wait for as
// long as it likes (pages of FUSE's in the place of its arguments, or where an epoll
// puts events), which kills do not end either.
const (
	// promptness is how long such a read is waited for.
	promptness = 200 * time.Millisecond
	// maxHeldUp bounds how many are left behind, with a thread each. Beyond it, nothing
	// of the kind is read.
	maxHeldUp = 8
)

// heldUp is how many reads nobody waits for any more.
var heldUp atomic.Int32 //nolint:gochecknoglobals // the threads are of one process

// Promptly returns what read does, or the zero value where that takes too long.
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

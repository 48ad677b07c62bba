package shim

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// The percentage that was there comes back when the last has let go.
func TestGarbageIsHeldBackForATime(t *testing.T) {
	const usual = 40
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	synctest.Test(t, func(t *testing.T) {
		var g garbage
		first, second := g.hold(), g.hold()
		first()
		<-time.After(2 * heldAfter)
		synctest.Wait()
		if got := percent(); got != heldPercent {
			t.Errorf("%d%% while one holds", got)
		}
		second()
		if got := percent(); got != heldPercent {
			t.Errorf("%d%% right after", got)
		}
		<-time.After(2 * heldAfter)
		synctest.Wait()
		if got := percent(); got != usual {
			t.Errorf("%d%% in the end", got)
		}
	})
}

func percent() int {
	now := debug.SetGCPercent(heldPercent)
	debug.SetGCPercent(now)
	return now
}

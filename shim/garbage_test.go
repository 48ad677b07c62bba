package shim

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbageIsHeldBackForATime(t *testing.T) {
	const usual = 40
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	synctest.Test(t, func(t *testing.T) {
		holdGarbage()
		if got := percent(); got != heldPercent {
			t.Errorf("%d%% at first", got)
		}
		<-time.After(2 * heldFor)
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

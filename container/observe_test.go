package container

import (
	"slices"
	"testing"
	"time"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// A call must be answered and counted even while the event store hangs.
func TestDecideWhileTheDiskHangs(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	hangs, thaw := make(chan struct{}), make(chan struct{})
	var stored []uint64
	c.folder = event.NewFolder(event.FolderOptions{Emit: func(e event.Event) {
		if stored == nil {
			close(hangs)
			<-thaw
		}
		stored = append(stored, e.Access.Count)
	}})
	call := seccomp.Call{Vector: access.VectorKcmp, Operation: access.OperationInspect, Actor: seccomp.Task{PID: 100}, Target: seccomp.Task{PID: 400}}
	observed := observationOf(call, policy.Decision{Verdict: access.VerdictRefused}, access.RelationHost, false)
	c.folder.Add(observed)
	<-hangs
	c.folder.Add(observed)
	const attempts = 1000
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for range attempts {
			if c.Decide(t.Context(), call).Continue {
				t.Error("let it through")
			}
		}
	}()
	select {
	case <-answered:
	case <-time.After(20 * time.Second):
		t.Error("callers wait for the disk")
	}
	close(thaw)
	<-answered
	c.folder.Close()
	if !slices.Equal(stored, []uint64{1, 1 + attempts}) {
		t.Errorf("events of %v, want one of 1 and one of %d", stored, 1+attempts)
	}
}

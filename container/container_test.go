package container

import (
	"testing"

	"github.com/shimward/shimward/policy"
)

// A container that is deleted, or whose shim ends, before it was attached to has nothing in the kernel to ask.
func TestUnattached(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	c.kernel, c.ready = nil, make(chan struct{})
	withStore(t, c)
	c.NoteDropped()
	if c.Armed() {
		t.Error("it is armed")
	}
	c.Close()
}

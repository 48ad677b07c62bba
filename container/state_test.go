package container

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

func TestWatchState(t *testing.T) {
	gone := errors.New("no such file")
	for name, test := range map[string]struct {
		kernel    *fakeKernel
		stateless bool
		replaced  bool
		says      string
	}{
		"there":         {&fakeKernel{}, false, false, ""},
		"gone":          {&fakeKernel{unpinned: gone}, false, false, "it holds while the container"},
		"no state":      {&fakeKernel{}, true, false, "cannot be exec'ed into"},
		"another's":     {&fakeKernel{}, false, true, "not the socket that shimward made"},
		"gone too soon": {&fakeKernel{unheld: gone}, false, false, "and with them the guard"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			c.kernel, c.listens = test.kernel, true
			withStore(t, c)
			if !test.stateless {
				if err := os.WriteFile(c.plan.Paths.Notify(c.plan.Identity.Key), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if test.replaced {
				var err error
				if c.socket, err = os.Stat(t.TempDir()); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				c.watchState(ctx)
			})
			events := storedEvents(t, c)
			if (len(events) == 1) != (test.says != "") || len(events) == 1 && !strings.Contains(events[0].Message, test.says) {
				t.Errorf("recorded %+v", events)
			}
		})
	}
}

// What was switched on and off again is told again, and once as long as it stays off.
func TestWatchStateAgain(t *testing.T) {
	off := bpf.ErrFtraceOff
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	c.kernel = &fakeKernel{uncalled: []error{nil, off, off, off, nil, off, off}}
	withStore(t, c)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c.watchState(ctx)
	})
	events := storedEvents(t, c)
	if len(events) != 2 || !strings.Contains(events[1].Message, "what refuses on this node is switched off") {
		t.Errorf("recorded %+v", events)
	}
}

func (k *fakeKernel) Called() error {
	if len(k.uncalled) == 0 {
		return nil
	}
	err := k.uncalled[0]
	k.uncalled = k.uncalled[1:]
	return err
}

package container

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

func TestWatchState(t *testing.T) {
	gone := fmt.Errorf("open the links: %w", fs.ErrNotExist)
	for name, test := range map[string]struct {
		kernel    *fakeKernel
		stateless bool
		replaced  bool
		says      string
	}{
		"there":         {&fakeKernel{}, false, false, ""},
		"gone":          {&fakeKernel{unpinned: gone}, false, false, "it holds while the container"},
		"no state":      {&fakeKernel{}, true, false, "nothing can be exec'ed into it"},
		"another's":     {&fakeKernel{}, false, true, "not the socket that shimward made"},
		"gone too soon": {&fakeKernel{unheld: slices.Repeat([]error{gone}, 1000), unpinned: gone}, false, false, "and with them the guard"},
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

// A loss that recurs must be reported again, but only once while it lasts.
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
	if len(events) != 2 || !strings.Contains(events[1].Message, "the programs that refuse accesses on this node are switched off") {
		t.Errorf("recorded %+v", events)
	}
}

// A failure to hold the guard for lack of something is not a loss: it must be retried.
func TestWatchStateHoldsLater(t *testing.T) {
	full := fmt.Errorf("open the map: %w", unix.EMFILE)
	gone := fmt.Errorf("open the links: %w", fs.ErrNotExist)
	for name, test := range map[string]struct {
		unheld   []error
		unpinned error
		says     []string
	}{
		"held in the end":    {[]error{full, full, full}, nil, []string{"cannot hold the container's guard (open the map: too many"}},
		"gone after that":    {[]error{full, full, full}, gone, []string{"and with them the guard", "cannot hold"}},
		"gone while it does": {append([]error{full, full}, slices.Repeat([]error{gone}, 1000)...), nil, []string{"cannot hold", "and with them the guard"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			kernel := &fakeKernel{unheld: test.unheld, unpinned: test.unpinned}
			c.kernel = kernel
			withStore(t, c)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				c.watchState(ctx)
			})
			events := storedEvents(t, c)
			if len(events) != len(test.says) {
				t.Fatalf("recorded %+v", events)
			}
			for i, e := range events {
				if !strings.Contains(e.Message, test.says[i]) {
					t.Errorf("said %q, want %q", e.Message, test.says[i])
				}
			}
		})
	}
}

func (k *fakeKernel) Called() error {
	return next(&k.uncalled)
}

func next(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

package shim

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shimward/shimward/policy"
)

func TestWatchState(t *testing.T) {
	gone := errors.New("no such file")
	for name, test := range map[string]struct {
		kernel    *fakeKernel
		stateless bool
		says      string
	}{
		"there":         {&fakeKernel{}, false, ""},
		"gone":          {&fakeKernel{unpinned: gone}, false, "it holds while the container"},
		"no state":      {&fakeKernel{}, true, "cannot be exec'ed into"},
		"gone too soon": {&fakeKernel{unheld: gone}, false, "and with them the guard"},
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

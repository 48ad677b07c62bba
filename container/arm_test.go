package container

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/shimward/shimward/policy"
)

// executable makes a file and returns what tells it from others.
func executable(t *testing.T) (string, os.FileInfo) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, info
}

func TestWatchArmed(t *testing.T) {
	runtime, before := executable(t)
	program, _ := executable(t)
	for name, test := range map[string]struct {
		exe     string // of init; "" where it has ended
		code    int    // where its code begins
		armed   bool
		killErr error
		killed  bool
		says    string
	}{
		"armed":                          {program, 4096, true, nil, false, ""},
		"ended":                          {"", 0, false, nil, false, ""},
		"unguarded":                      {program, 4096, false, nil, true, "ran without its guard, and was killed"},
		"unguarded and not to be killed": {program, 4096, false, errors.New("no"), true, "however often they are killed: no)"},
		"still the runtime":              {runtime, 4096, false, nil, false, "did not start its program"},
		"in the middle of its execve":    {program, 0, false, nil, false, "did not start its program"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			c.kernel = &fakeKernel{armed: test.armed}
			withStore(t, c)
			c.proc = fakeProc(t, map[int]map[string]string{
				100: {"stat": strings.Replace(statLine("init", 1, 10), " 4096", " "+strconv.Itoa(test.code), 1)},
			})
			if test.exe != "" {
				if err := os.Symlink(test.exe, c.proc.path(100, "exe")); err != nil {
					t.Fatal(err)
				}
			}
			if test.killErr != nil {
				populate(t, c.plan, "1")
			}
			killed := false
			synctest.Test(t, func(t *testing.T) {
				c.watchArmed(t.Context(), before, func() error { killed = true; return test.killErr })
			})
			if killed != test.killed {
				t.Errorf("killed: %v", killed)
			}
			events := storedEvents(t, c)
			if len(events) > 1 || (len(events) == 1) != (test.says != "") || len(events) == 1 && !strings.Contains(events[0].Message, test.says) {
				t.Errorf("recorded %+v", events)
			}
		})
	}
}

// A kill that leaves a process is done again, until there is none or the time is over.
func TestKillAll(t *testing.T) {
	for name, test := range map[string]struct {
		needs int // so many kills
		says  error
		ok    bool
	}{
		"at once": {1, nil, true}, "the third time": {3, nil, true}, "never": {1 << 20, nil, false},
		"who is gone": {1, errors.New("no such process"), true},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			populate(t, c.plan, "1")
			kills := 0
			synctest.Test(t, func(t *testing.T) {
				err := c.killAll(t.Context(), func() error {
					if kills++; kills == test.needs {
						populate(t, c.plan, "0")
					}
					return test.says
				})
				if (err == nil) != test.ok {
					t.Error(err)
				}
			})
			if test.ok && kills != test.needs || !test.ok && kills < 10 {
				t.Errorf("killed %d times", kills)
			}
		})
	}
}

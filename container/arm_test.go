package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shimward/shimward/policy"
)

// executable creates a file and returns its path, and the FileInfo that distinguishes it from
// others.
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
	loop := filepath.Join(t.TempDir(), "loop") // like a file on a failing file system
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		exe     string // init's; "" if init has ended
		code    int    // address where its code begins
		armed   bool
		killErr error
		killed  bool
		says    string
	}{
		"armed":                          {program, 4096, true, nil, false, ""},
		"ended":                          {"", 0, false, nil, false, ""},
		"unguarded":                      {program, 4096, false, nil, true, "ran without its guard, and was killed"},
		"unguarded and not to be killed": {program, 4096, false, errors.New("no"), true, "although they were killed repeatedly: no)"},
		"still the runtime":              {runtime, 4096, false, nil, false, "not seen to start its program within 2m0s: "},
		"in the middle of its execve":    {program, 0, false, nil, false, "not seen to start its program"},
		"not to be looked at":            {loop, 4096, false, nil, false, "too many levels of symbolic links"},
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
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				c.watchArmed(ctx, before, func() error { killed = true; return test.killErr })
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

// Nothing but init's end may end the watch: neither a temporary failure to read it, nor hooks that
// take longer than usual.
func TestWatchArmedGoesOn(t *testing.T) {
	runtime, before := executable(t)
	program, _ := executable(t)
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		first  string // init's executable for the time that follows, before it becomes program
		lasts  time.Duration
		start  uint64 // of the process that has init's pid then
		killed bool
		events int
	}{
		"an error that passes":    {loop, time.Second, 10, true, 1},
		"a slow hook":             {runtime, time.Hour, 10, true, 2},
		"another has init's pid":  {runtime, time.Minute, 11, false, 0},
		"the same, and very late": {runtime, time.Hour, 11, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			c.kernel = &fakeKernel{}
			withStore(t, c)
			exe := c.proc.path(100, "exe")
			if err := os.Symlink(test.first, exe); err != nil {
				t.Fatal(err)
			}
			killed := false
			synctest.Test(t, func(t *testing.T) {
				time.AfterFunc(test.lasts, func() {
					replace(t, exe, func(path string) error { return os.Symlink(program, path) })
					replace(t, c.proc.path(100, "stat"), func(path string) error {
						return os.WriteFile(path, []byte(statLine("init", 1, test.start)), 0o600)
					})
				})
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				c.watchArmed(ctx, before, func() error { killed = true; return nil })
				if ctx.Err() != nil {
					t.Error("it watches to the end")
				}
			})
			if events := storedEvents(t, c); killed != test.killed || len(events) != test.events {
				t.Errorf("killed: %v; recorded %+v", killed, events)
			}
		})
	}
}

func TestAwaitStart(t *testing.T) {
	_, before := executable(t)
	program, _ := executable(t)
	for name, starts := range map[string]bool{"it starts": true, "it ends": false} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			exe := c.proc.path(100, "exe")
			if err := os.Symlink(exe, exe); err != nil { // cannot be read
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				time.AfterFunc(time.Minute, func() {
					if starts {
						replace(t, exe, func(path string) error { return os.Symlink(program, path) })
					} else if err := os.RemoveAll(filepath.Dir(exe)); err != nil {
						t.Error(err)
					}
				})
				begin := time.Now()
				if got := c.AwaitStart(t.Context(), before); got != starts || time.Since(begin) < time.Minute {
					t.Errorf("%v, after %v", got, time.Since(begin))
				}
			})
		})
	}
}

// replace makes write create a file, which then replaces the one at path.
func replace(t *testing.T, path string, write func(path string) error) {
	t.Helper()
	if err := write(path + ".new"); err != nil {
		t.Error(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Error(err)
	}
}

// A kill that leaves a process must be repeated, until there is none or the time is up.
func TestKillAll(t *testing.T) {
	for name, test := range map[string]struct {
		needs int // number of kills
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

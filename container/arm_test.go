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
		"unguarded and not to be killed": {program, 4096, false, errors.New("no"), true, "could not be killed (no)"},
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
		ok    bool
	}{
		"at once": {1, true}, "the third time": {3, true}, "never": {1 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
			c.plan.Paths.Run = t.TempDir()
			cgroup := t.TempDir()
			populated := func(is string) {
				if err := os.WriteFile(filepath.Join(cgroup, "cgroup.events"), []byte("populated "+is+"\nfrozen 0\n"), 0o600); err != nil {
					t.Error(err)
				}
			}
			populated("1")
			folder := c.plan.Paths.Container(c.plan.Identity.Key)
			enrolment := `{"pid":100,"cgroup":"` + cgroup + `"}`
			if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "enrolled.json"), []byte(enrolment), 0o600)); err != nil {
				t.Fatal(err)
			}
			kills := 0
			synctest.Test(t, func(t *testing.T) {
				err := c.killAll(t.Context(), func() error {
					if kills++; kills == test.needs {
						populated("0")
					}
					return nil
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

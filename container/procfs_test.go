package container

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeProc creates a procfs with the given files of each pid.
func fakeProc(t *testing.T, processes map[int]map[string]string) procfs {
	t.Helper()
	root := t.TempDir()
	for pid, files := range processes {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return procfs(root)
}

// statLine returns a line of /proc/<pid>/stat.
func statLine(comm string, parent int, start uint64) string {
	return "7 (" + comm + ") S " + strconv.Itoa(parent) + strings.Repeat(" 0", 17) + " " + strconv.FormatUint(start, 10) + " 0 0 0 4096\n"
}

func TestStat(t *testing.T) {
	for name, test := range map[string]struct {
		line string
		want procStat
		ok   bool
	}{
		"plain":               {statLine("sh", 3, 99), procStat{comm: "sh", parent: 3, start: 99, code: 4096}, true},
		"a hostile name":      {statLine(") S 1 (", 3, 99), procStat{comm: ") S 1 (", parent: 3, start: 99, code: 4096}, true},
		"a name of newlines":  {statLine("a\nb\n", 3, 99), procStat{comm: "a\nb\n", parent: 3, start: 99, code: 4096}, true},
		"empty":               {"", procStat{}, false},
		"no name":             {"7 sh S 3", procStat{}, false},
		"short":               {"7 (sh) S 3", procStat{}, false},
		"a parent of letters": {strings.Replace(statLine("sh", 3, 99), " 3 ", " x ", 1), procStat{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fakeProc(t, map[int]map[string]string{7: {"stat": test.line}}).stat(7)
			if (err == nil) != test.ok || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	self, err := procfs("/proc").stat(os.Getpid())
	if err != nil || self.parent != os.Getppid() || self.start == 0 {
		t.Errorf("of this process: %+v, %v", self, err)
	}
}

func TestStatus(t *testing.T) {
	const text = "Name:\tsh\nTgid:\t7\nUid:\t1\t2\t3\t4\nNStgid:\t7\t5\t1\n"
	got, err := fakeProc(t, map[int]map[string]string{7: {"status": text}}).status(7)
	if err != nil || got != (procStatus{tgid: 7, uid: 2, inside: 1}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := fakeProc(t, map[int]map[string]string{7: {"status": "Tgid:\tx\n"}}).status(7); err == nil {
		t.Error("took a Tgid of letters")
	}
}

func TestCmdline(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"sh\x00-c\x00true\x00":          "sh -c true",
		"a\xff\x00":                     "a\uFFFD",
		strings.Repeat("x", 100*1024):   strings.Repeat("x", maxCmdline),
		"sh\x00\x00\x00":                "sh",
		"nginx: worker process\x00\x00": "nginx: worker process",
	} {
		if got := fakeProc(t, map[int]map[string]string{7: {"cmdline": text}}).cmdline(7); got != want {
			t.Errorf("%.40q: got %.40q", text, got)
		}
	}
}

func TestAncestors(t *testing.T) {
	proc := fakeProc(t, map[int]map[string]string{
		9: {"stat": statLine("c", 8, 3)},
		8: {"stat": statLine("b", 1, 2)},
		1: {"stat": statLine("init", 0, 1)},
		5: {"stat": statLine("loop", 5, 1)},
	})
	if got := proc.ancestors(9); !slices.Equal(got, []int{8, 1}) {
		t.Errorf("got %v", got)
	}
	if got := proc.lineage(9); !slices.Equal(got, []started{{9, 3}, {8, 2}, {1, 1}}) {
		t.Errorf("got %v", got)
	}
	if got := proc.lineage(6); got != nil {
		t.Errorf("of nobody: %v", got)
	}
	if got := proc.lineage(5); len(got) != maxAncestry+1 {
		t.Errorf("a loop: a lineage of %d", len(got))
	}
	if got := proc.ancestors(5); len(got) != maxAncestry {
		t.Errorf("a loop: %d ancestors", len(got))
	}
	if got := proc.ancestors(6); got != nil {
		t.Errorf("of nobody: %v", got)
	}
}

// TestProgramWhileOthersAreHeldUp checks that processes that block whoever reads about them cost others
// their exceptions at most, and never the check that a container's program runs under guard.
func TestProgramWhileOthersAreHeldUp(t *testing.T) {
	const holder, honest = 100, 101
	proc := fakeProc(t, map[int]map[string]string{holder: {}, honest: {"exe": "", "stat": statLine("honest", 1, 5)}})
	held := proc.path(holder, "cmdline")
	if err := unix.Mkfifo(held, 0o600); err != nil {
		t.Fatal(err)
	}
	for blocked := false; !blocked; {
		if t.Context().Err() != nil {
			t.Fatal("there is no bound on blocked reads")
		}
		proc.cmdline(holder)
		_, err := proc.exeIDPromptly(honest)
		blocked = err != nil
	}
	if exe, ended, err := proc.program(started{pid: honest, start: 5}); exe == nil || ended || err != nil {
		t.Errorf("the program is %v, ended %t: %v", exe, ended, err)
	}
	release, err := os.OpenFile(held, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	release.Close()
	for {
		if _, err := proc.exeIDPromptly(honest); err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("reads stay blocked")
		}
		unix.Poll(nil, 1) //nolint:errcheck // a moment
	}
}

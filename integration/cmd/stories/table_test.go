package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const newer = `{"Action":"output","Test":"TestStories","Output":"    main_test.go:1: told on: {\"containerd\":\"2.4.2\",\"tier\":\"tracepoint\"}\n"}
not of go test
{"Action":"pass","Test":"TestStories/shared_pid_namespace/shimward"}
{"Action":"pass","Test":"TestStories/shared_pid_namespace"}
{"Action":"fail","Test":"TestStories/job"}
{"Action":"pass","Test":"TestOthers/job"}
`

const older = `{"Action":"output","Test":"TestStories","Output":"told on: {\"containerd\":\"2.2.9\",\"tier\":\"tracepoint\"}\n"}
{"Action":"pass","Test":"TestStories/job"}
`

const want = `| story | containerd 2.2.9, tracepoint | containerd 2.4.2, tracepoint |
|---|---|---|
| shared pid namespace |  | ✓ |
| job | ✓ | failed |
`

func files(t *testing.T) (page string, runs []string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("page.md", "before\n"+begin+"| story |\n"+end+"after\n"), []string{write("newer.json", newer), write("older.json", older)}
}

func TestWriteAndCheck(t *testing.T) {
	page, runs := files(t)
	if err := run(append([]string{"check", page}, runs...)); err == nil {
		t.Error("an empty table is as the runs are")
	}
	if err := run(append([]string{"write", page}, runs...)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if got := "before\n" + begin + want + end + "after\n"; string(text) != got {
		t.Fatalf("wrote\n%s\nwant\n%s", text, got)
	}
	for _, some := range [][]string{runs, runs[:1], runs[1:]} {
		if err := run(append([]string{"check", page}, some...)); err != nil {
			t.Errorf("%q: %v", some, err)
		}
	}
	for old, other := range map[string]string{
		"| ✓ | failed |": "| ✓ | ✓ |",
		"|  | ✓ |":       "|  |  |",
		"| shared":       "| another |  | ✓ |\n| shared",
		"2.4.2":          "2.4.1",
	} {
		if err := os.WriteFile(page, []byte(strings.Replace(string(text), old, other, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(append([]string{"check", page}, runs...)); err == nil {
			t.Errorf("%q in place of %q was not seen", other, old)
		}
	}
}

func TestMerge(t *testing.T) {
	page, runs := files(t)
	again := filepath.Join(t.TempDir(), "again.json")
	text := strings.ReplaceAll(older, "2.2.9", "2.4.2") + `{"Action":"pass","Test":"TestStories/probe"}`
	if err := os.WriteFile(again, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"write", page, runs[0], again}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if want := "| shared pid namespace | ✓ |\n| job | ✓ |\n| probe | ✓ |\n"; !strings.Contains(string(got), want) {
		t.Errorf("wrote\n%s", got)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{"", "told on: nothing", `{"Action":"pass","Test":"TestStories/job"}`, `{"Output":"told on: {"}`, strings.Split(newer, "\n")[0]} {
		if got, err := read(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

package procfile

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPromptly checks that a process that blocks readers of its command line delays neither its own events
// nor, once enough readers are blocked, those of others.
func TestPromptly(t *testing.T) {
	dir := t.TempDir()
	const pid, honest = 1, 2
	for _, one := range []int{pid, honest} {
		if err := os.Mkdir(filepath.Join(dir, strconv.Itoa(one)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	held := filepath.Join(dir, strconv.Itoa(pid), "cmdline")
	if err := unix.Mkfifo(held, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(honest), "cmdline"), []byte("sleep\x00inf\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmdline := func(pid int) string {
		return Promptly(func() string {
			var buffer [64]byte
			raw, err := Head(filepath.Join(dir, strconv.Itoa(pid), "cmdline"), buffer[:])
			if err != nil {
				return err.Error()
			}
			return string(raw)
		})
	}
	for range maxHeldUp + 100 { // more would take the test's time
		if got := cmdline(pid); got != "" {
			t.Fatalf("its command line is %q", got)
		}
	}
	if got := heldUp.Load(); got != maxHeldUp {
		t.Errorf("%d reads are held up", got)
	}

	release, err := os.OpenFile(held, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	release.Close()
	for heldUp.Load() > 0 {
		if t.Context().Err() != nil {
			t.Fatal("they are held up for ever")
		}
		unix.Poll(nil, 1) //nolint:errcheck // a moment
	}
	if got := cmdline(honest); got != "sleep\x00inf\x00" {
		t.Errorf("another's command line is %q", got)
	}
}

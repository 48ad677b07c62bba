package procfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "less": 10, "as much": 64, "more": 65, "much more": 100_000} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
			var buffer [64]byte
			if got, err := Read(path, buffer[:]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, %v", len(got), size, err)
			}
			if got, err := Head(path, buffer[:]); err != nil || !bytes.Equal(got, want[:min(size, 64)]) {
				t.Errorf("the head: %d bytes of %d, %v", len(got), size, err)
			}
		})
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of none: %v", err)
	}
	if _, err := Read(t.TempDir(), nil); err == nil {
		t.Error("of a folder: no error")
	}
	want, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Read("/proc/self/cmdline", nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("of proc: %q, %v", got, err)
	}
}

// A buffer on the caller's stack must be enough.
func TestGarbage(t *testing.T) {
	path := "/proc/self/stat"
	garbage := testing.AllocsPerRun(100, func() {
		var buffer [1024]byte
		if _, err := Read(path, buffer[:]); err != nil {
			t.Error(err)
		}
	})
	if garbage > 2 { // the path with a terminating zero; the race detector adds one
		t.Errorf("%v allocations", garbage)
	}
}

package event

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// The file that follows is always a later one, however often the writer rotates during the search.
func TestFollowingIsLater(t *testing.T) {
	dir := t.TempDir()
	current, older := filepath.Join(dir, fileCurrent), filepath.Join(dir, fileOlder)
	stop := make(chan struct{})
	done := make(chan struct{})
	defer func() { close(stop); <-done }()
	go func() {
		defer close(done)
		for serial := 1; ; serial++ {
			select {
			case <-stop:
				return
			default:
			}
			made := filepath.Join(dir, "made") // renamed into place, so that nobody reads it empty
			err := os.WriteFile(made, []byte(strconv.Itoa(serial)), 0o600)
			if moved := os.Rename(current, older); moved != nil && !errors.Is(moved, fs.ErrNotExist) {
				err = errors.Join(err, moved)
			}
			if err := errors.Join(err, os.Rename(made, current)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for followed := 0; followed < 100; {
		from, err := os.Open(current)
		if errors.Is(err, fs.ErrNotExist) {
			continue // in the middle of a rotation
		}
		if err != nil {
			t.Fatal(err)
		}
		one := &stream{dir: dir, file: from}
		next, err := one.following()
		if err == nil {
			followed++
			if here, there := serialOf(t, from), serialOf(t, next); there <= here {
				t.Fatalf("file %d followed file %d", there, here)
			}
			err = next.Close()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err := one.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func serialOf(t *testing.T, file *os.File) int {
	t.Helper()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return serial
}

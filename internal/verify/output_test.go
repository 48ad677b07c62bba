package verify

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The pipe must stay open when a writer opens it, writes and closes it, as a shim may do.
func TestStream(t *testing.T) {
	s, err := newStream(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first\n", "second\n"} {
		found := s.watch(text)
		w, err := os.OpenFile(s.path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		<-found
		<-s.watch(text) // text that has been written already
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	if s.String() != "first\nsecond\n" {
		t.Errorf("read %q", s)
	}
}

// A container that could not be ended keeps its end of the pipe open.
func TestStreamOfOneThatLivesOn(t *testing.T) {
	s, err := newStream(filepath.Join(t.TempDir(), "pipe"))
	if err != nil {
		t.Fatal(err)
	}
	shim, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.close(false), shim.Close()); err != nil {
		t.Error(err)
	}
}

package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A reader that has the old file open continues to read the old content.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Replace(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := Replace(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if old, err := io.ReadAll(reader); err != nil || string(old) != "old" {
		t.Errorf("the open file has %q, %v", old, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if text, err := Read(path, 3); err != nil || string(text) != "new" {
		t.Errorf("it has %q, %v", text, err)
	}
	if err := Replace(filepath.Join(path, "below"), nil); err == nil {
		t.Error("wrote below a file")
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	regular, pipe := filepath.Join(dir, "regular"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(regular, []byte("text"), 0o600), unix.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		limit      int64
		wrong      string // "" if it can be read
	}{
		{"as large as may be", regular, 4, ""},
		{"too large", regular, 3, "larger than 3 bytes"},
		{"missing", filepath.Join(dir, "missing"), 4, "no such file"},
		{"a folder", dir, 4, "not a regular file"},
		{"a pipe that nobody writes to", pipe, 4, "not a regular file"},
		{"a device", "/dev/zero", 4, "not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw, err := Read(test.path, test.limit)
			if test.wrong == "" && (err != nil || string(raw) != "text") {
				t.Errorf("read %q, %v", raw, err)
			}
			if test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("read %q, %v, want %q", raw, err, test.wrong)
			}
		})
	}
	refused := errors.New("refused")
	if raw, err := Read(regular, 4, func(string, fs.FileInfo) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("read %q, %v, though a check refuses it", raw, err)
	}
}

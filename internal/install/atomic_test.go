package install

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A config that contains a registry's password is not readable by everyone, and neither may a copy
// be.
func TestCopyHasTheModeOfItsFile(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(config, []byte("password = 'x'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(config, config+".copy", []byte("password = 'x'\n")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(config + ".copy")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v %v", info, err)
	}
}

// After undo, a file is as it was before, even if it was removed in the meantime.
func TestRestoreKeepsModeAndTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	was := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := errors.Join(os.WriteFile(path, []byte("password = 'x'\n"), 0o600), os.Chtimes(path, was, was)); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func() error{
		func() error { return removeFile(path) },
		func() error { return replaceFile(path, []byte("another\n")) },
	} {
		putBack, err := restore(path)
		if err := errors.Join(err, change(), putBack()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || string(text) != "password = 'x'\n" {
			t.Errorf("it holds %q (%v)", text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || !info.ModTime().Equal(was) {
			t.Errorf("it is %v (%v)", info, err)
		}
	}
}

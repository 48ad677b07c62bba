package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// replaceFile has a file hold this text, wholly or not at all, with the owner
// and mode of the one that it replaces. A symbolic link stays one.
func replaceFile(path string, text []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return copyFile(path, path, text)
}

// copyFile has a file hold this text, wholly or not at all, with the owner and mode of
// another: a config may have secrets in it, and so has what is made of it.
func copyFile(like, path string, text []byte) error {
	info, _ := os.Stat(like) // nil if it is not there
	return writeFile(info, path, text)
}

// writeFile has a file hold this text, wholly or not at all, with the owner and mode of
// the one that info is of, if there is one.
func writeFile(info fs.FileInfo, path string, text []byte) (err error) {
	mode, uid, gid := fs.FileMode(0o644), -1, -1
	if info != nil {
		mode = info.Mode().Perm()
		if owner, is := info.Sys().(*syscall.Stat_t); is {
			uid, gid = int(owner.Uid), int(owner.Gid)
		}
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".shimward-*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Chmod(mode), temp.Chown(uid, gid), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// replaceLink has a symbolic link point to a target. There is no moment without the link.
func replaceLink(path, target string) error {
	temp := path + ".shimward-tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// undo is how to put back what was done, in the order that it was done.
type undo []func() error

func (u *undo) add(step func() error) { *u = append(*u, step) }

func (u undo) run() error {
	var errs []error
	for i := len(u) - 1; i >= 0; i-- {
		errs = append(errs, u[i]())
	}
	return errors.Join(errs...)
}

// restore is the step that gives a file back what it holds now, its mode and its time, or
// removes it if there is none.
func restore(path string) (func() error, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the installation
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return removeFile(path) }, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return func() error {
		return errors.Join(writeFile(info, path, text), os.Chtimes(path, time.Time{}, info.ModTime()))
	}, nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

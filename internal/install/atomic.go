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

// replaceFile atomically writes text to a file, keeping the owner and mode of the file that it
// replaces. A symbolic link stays a link: its target is replaced.
func replaceFile(path string, text []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return copyFile(path, path, text)
}

// copyFile atomically writes text to a file, with the owner and mode of the file like: a config may
// contain secrets, and so may a file that is made from it.
func copyFile(like, path string, text []byte) error {
	info, _ := os.Stat(like) // nil if it does not exist
	return writeFile(info, path, text)
}

// writeFile atomically writes text to a file, with the owner and mode in info if that is not nil.
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

// replaceLink atomically makes path a symbolic link to target: there is no moment without the link.
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

// undo is a list of steps that reverse what was done, in the order in which it was done. run runs
// them backwards.
type undo []func() error

func (u *undo) add(step func() error) { *u = append(*u, step) }

func (u undo) run() error {
	var errs []error
	for i := len(u) - 1; i >= 0; i-- {
		errs = append(errs, u[i]())
	}
	return errors.Join(errs...)
}

// restore returns a step that restores a file's current content, mode and time, or removes the file
// if it does not exist now.
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

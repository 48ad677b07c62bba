// Package files reads and writes the small files of shimward's state. Somebody else may have put
// something different in the place of such a file, so Read checks it and bounds its size. A reader
// always sees a whole file. The package does not interpret the content.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Read reads the regular file at path, which must have at most limit bytes and pass every check.
func Read(path string, limit int64, checks ...func(path string, info fs.FileInfo) error) ([]byte, error) {
	// Opening a FIFO without O_NONBLOCK would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the caller's path is the point
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	for _, check := range checks {
		if err := check(path, info); err != nil {
			return nil, err
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, nil
}

// Replace writes text to a file that only root can read, by renaming a new file over it, so that a
// reader that opens path never sees half of it. There must be only one writer at a time. Replace
// does not wait for the disk.
func Replace(path string, text []byte) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's path is the point
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return os.Rename(fresh, path)
}

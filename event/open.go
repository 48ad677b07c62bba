package event

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errForeign is wrapped by openRegular's error if the file is not of a kind that a store creates.
var errForeign = errors.New("it is not a file of an event store")

// openRegular opens a file of the store and, with os.O_CREATE, creates it if there is none. Root in
// a container that has the store mounted may put anything in its place: opening a pipe blocks, and
// opening a device has whatever effect its driver gives that.
func openRegular(path string, flags int) (*os.File, error) {
	file, err := openFound(path, flags&^os.O_CREATE)
	if flags&os.O_CREATE == 0 || !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	file, err = os.OpenFile(path, flags|os.O_EXCL, 0o600) //nolint:gosec // a fixed name in the store's own folder
	if errors.Is(err, fs.ErrExist) {
		return openFound(path, flags&^os.O_CREATE)
	}
	return file, err
}

// openFound looks the name up without opening the file (O_PATH), and then opens exactly what it
// checked.
func openFound(path string, flags int) (*os.File, error) {
	found, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0) //nolint:gosec // a fixed name in the store's own folder
	if err != nil {
		return nil, err
	}
	defer found.Close() //nolint:errcheck // nothing was opened by it
	want, err := found.Stat()
	if err != nil {
		return nil, err
	}
	if !want.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: %w", path, errForeign)
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(found.Fd())), flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) { // of /proc, not of path: the caller must not look for path again
		return nil, fmt.Errorf("open %s: /proc does not show this process: mount procfs there, that of its PID namespace", path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err} // EAGAIN: a process has a lease on the file (fcntl(2)), and a blocking open would wait for it
	}
	file := os.NewFile(uintptr(fd), path)
	have, err := file.Stat()
	if err == nil && !os.SameFile(want, have) {
		err = fmt.Errorf("open %s: /proc leads elsewhere: mount procfs there", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// ours opens one of the store's files with open. If something foreign is in its place, it removes
// that and tries once more; the next Append reports it. The caller holds s.mu, or s is not shared
// yet.
func (s *Store) ours(name string, open func() (*os.File, error)) (*os.File, error) {
	file, err := open()
	if !errors.Is(err, errForeign) {
		return file, err
	}
	if err := s.displace(name); err != nil {
		return nil, err
	}
	return open()
}

// displaced is part of the name that a folder is renamed to if it was in a file's place.
const displaced = ".foreign-"

func isDisplaced(name string) bool {
	return slices.ContainsFunc(storeFiles(), func(file string) bool { return strings.HasPrefix(name, file+displaced) })
}

// removeDisplaced removes from a container's folder what displace renamed.
func removeDisplaced(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if isDisplaced(entry.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, entry.Name())))
		}
	}
	return err
}

// displace removes whatever is in the place of one of the store's files. A folder that is not empty
// is renamed with its content instead: it could be filled as fast as it is emptied.
func (s *Store) displace(name string) error {
	path := s.path(name)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrExist) { // ENOTEMPTY matches it
		err = os.Rename(path, path+displaced+strconv.FormatInt(time.Now().UnixNano(), 10))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.tampered = fmt.Sprintf("put something else in the place of %s in this container's event store", name)
	return nil
}

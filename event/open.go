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

// errForeign is in the error of openRegular where what has the name is nothing that a store makes.
var errForeign = errors.New("it is no file of an event store")

// openRegular opens a file of the store's, and with os.O_CREATE makes it where there is none.
// Root in a container that has the store mounted may put anything in its place: whoever opens
// a pipe waits, and opening a device does whatever its driver does then.
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

// openFound looks the name up without opening what has it (O_PATH), and then opens just what it looked at.
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
	if errors.Is(err, fs.ErrNotExist) { // of /proc, not of path, which nobody has to look for again
		return nil, fmt.Errorf("open %s: /proc does not show this process: mount procfs there, that of its PID namespace", path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err} // EAGAIN: somebody has a lease on it (fcntl(2)), and would be waited for
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

// ours opens one of the store's files with open, and once more after taking away what is
// in its place, which the next Append tells. s.mu is held, or s not yet shared.
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

// displaced is in the name that a folder gets which was in a file's place.
const displaced = ".foreign-"

func isDisplaced(name string) bool {
	return slices.ContainsFunc(storeFiles(), func(file string) bool { return strings.HasPrefix(name, file+displaced) })
}

// removeDisplaced removes what displace put aside in a container's folder.
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

// displace takes away what is in the place of one of the store's files. A folder that is not
// empty keeps what is in it, under another name: it could be filled as fast as it is emptied.
func (s *Store) displace(name string) error {
	path := s.path(name)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrExist) { // ENOTEMPTY is one
		err = os.Rename(path, path+displaced+strconv.FormatInt(time.Now().UnixNano(), 10))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.tampered = fmt.Sprintf("put what is no file of its own in the place of %s in this container's event store", name)
	return nil
}

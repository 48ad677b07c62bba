package event

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Swept is the result of a Sweep.
type Swept struct {
	Folders int   // remaining
	Bytes   int64 // remaining, for live and ended containers
	Deleted int   // folders deleted
}

// Sweep deletes the events of ended containers, least recently written first, until the node's
// store in dir has at most maxBytes and at most maxEnded folders of ended containers. It never
// deletes a folder that a Store has open, nor anything in dir that does not look like part of the
// store.
func Sweep(dir string, maxBytes int64, maxEnded int) (Swept, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Swept{}, nil
	}
	if err != nil {
		return Swept{}, fmt.Errorf("sweep event store: %w", err)
	}
	type folder struct {
		path string
		size int64
		last time.Time
	}
	var folders []folder
	var done Swept
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		size, last, ok := measure(path)
		if !entry.IsDir() || !ok {
			continue
		}
		folders = append(folders, folder{path, size, last})
		done.Folders++
		done.Bytes += size
	}
	if done.Bytes <= maxBytes && done.Folders <= maxEnded {
		return done, nil // no lock is taken needlessly
	}
	slices.SortFunc(folders, func(a, b folder) int { return a.last.Compare(b.last) })
	ended := slices.DeleteFunc(folders, func(f folder) bool { return busy(f.path) })
	var failed []error
	for i, one := range ended {
		if done.Bytes <= maxBytes && len(ended)-i <= maxEnded {
			break
		}
		deleted, err := deleteFolder(one.path)
		if err != nil {
			failed = append(failed, fmt.Errorf("sweep event store: %w", err))
			continue
		}
		if deleted {
			done.Folders--
			done.Bytes -= one.size
			done.Deleted++
		}
	}
	return done, errors.Join(failed...)
}

// measure returns the size of a container's folder and when it was last written, or false if path
// is not such a folder.
func measure(path string) (size int64, last time.Time, ok bool) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return 0, time.Time{}, false
	}
	for _, entry := range entries {
		if isDisplaced(entry.Name()) {
			continue
		}
		if !slices.Contains(storeFiles(), entry.Name()) || !entry.Type().IsRegular() {
			return 0, time.Time{}, false // someone else's, perhaps because paths.log is a folder that others use
		}
		info, err := entry.Info()
		if err != nil {
			continue // rotated or deleted meanwhile
		}
		ok = true
		size += info.Size()
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return size, last, ok
}

func busy(path string) bool {
	lock, err := tryLock(path, 0)
	if err != nil {
		return errors.Is(err, ErrBusy)
	}
	_ = lock.Close() // it was opened only for its lock, which goes with it
	return false
}

// deleteFolder deletes a container's folder unless someone has started to write it.
func deleteFolder(path string) (bool, error) {
	// A folder without a lock file is half created or half deleted: create one, to be sure that no
	// one else is working on it.
	lock, err := tryLock(path, os.O_CREATE)
	if errors.Is(err, ErrBusy) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close() //nolint:errcheck // it was opened for its lock, which goes with it
	if err := removeDisplaced(path); err != nil {
		return false, err
	}
	// The lock file goes last: whoever finds none creates the folder anew.
	for _, name := range storeFiles() {
		if err := os.Remove(filepath.Join(path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		err = nil // someone has started to create it anew
	}
	return err == nil, err
}

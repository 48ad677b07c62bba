package event

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The files of a container's folder, in the order of their events.
const (
	fileFirst   = "events.first.jsonl" // the first file that filled up: kept, so that no flood of later events discards the beginning
	fileOlder   = "events.jsonl.1"
	fileCurrent = "events.jsonl"
	fileLock    = "lock" // flocked by the store's only writer
)

// storeFiles returns all of them, the lock last: whoever finds no lock creates the folder anew.
func storeFiles() []string { return []string{fileFirst, fileOlder, fileCurrent, fileLock} }

// minStore is the smallest limit of a store: a line in each file.
const minStore = 4 * MaxLine

// ErrBusy is wrapped by OpenStore's error if another process is writing the store.
var ErrBusy = errors.New("another process writes it")

// Store is one container's part of the event store: a folder that it alone writes. Lines are
// appended whole, and survive the writer. It is safe for concurrent use.
type Store struct {
	dir   string
	limit int64 // per file, for each of the three

	mu   sync.Mutex
	lock *os.File // guarded by mu
	file *os.File // guarded by mu; nil once closed
	size int64    // guarded by mu
	torn bool     // guarded by mu: the file may not end in a newline
	// moved says that rotate renamed the file and then failed to create the next one.
	moved bool // guarded by mu
	// tampered describes what someone else did to the store and has not been recorded yet.
	tampered string // guarded by mu
}

// OpenStore opens a container's folder for writing at most maxBytes in total, and creates it if it
// does not exist. While it is open, Sweep leaves it alone.
func OpenStore(dir string, maxBytes int64) (*Store, error) {
	store := &Store{dir: dir, limit: max(maxBytes, minStore) / 3}
	var err error
	if store.lock, err = store.lockFolder(); err != nil {
		return nil, fmt.Errorf("open event store %s: %w", dir, err)
	}
	if err := store.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open event store: %w", err), store.lock.Close())
	}
	return store, nil
}

// lockPatience is how long OpenStore waits for a Sweep that is working on this folder.
const lockPatience = 2 * time.Second

// lockFolder creates the folder and locks it. A Sweep may hold the lock for a moment, or delete the
// folder between the two steps; then it tries again.
func (s *Store) lockFolder() (*os.File, error) {
	deadline := time.Now().Add(lockPatience)
	for {
		lock, err := s.makeLocked()
		passing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrBusy)
		if !passing || time.Now().After(deadline) {
			return lock, err
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (s *Store) makeLocked() (*os.File, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return s.ours(fileLock, func() (*os.File, error) { return tryLock(s.dir, os.O_CREATE) })
}

// tryLock locks a folder. The error is fs.ErrNotExist if the folder went away, and ErrBusy if
// someone else holds the lock.
func tryLock(dir string, flags int) (*os.File, error) {
	name := filepath.Join(dir, fileLock)
	lock, err := openRegular(name, os.O_RDWR|flags)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(err, lock.Close())
	}
	// The lock is on the file, which may have been unlinked meanwhile.
	have, err := lock.Stat()
	if err == nil {
		var named fs.FileInfo
		if named, err = os.Lstat(name); err == nil && !os.SameFile(have, named) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// open opens the current file. The caller holds s.mu, or s is not shared yet.
func (s *Store) open() error {
	file, err := s.ours(fileCurrent, func() (*os.File, error) {
		return openRegular(s.path(fileCurrent), os.O_RDWR|os.O_APPEND|os.O_CREATE)
	})
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	s.file, s.size, s.torn = file, info.Size(), false
	if s.size > 0 {
		last := make([]byte, 1)
		if _, err := file.ReadAt(last, s.size-1); err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(err, file.Close())
		}
		s.torn = last[0] != '\n'
	}
	return nil
}

// Append writes an event. Once it returns, the event survives the death of this process.
func (s *Store) Append(e Event) error {
	line, err := Line(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return fmt.Errorf("append to event store %s: %w", s.dir, fs.ErrClosed)
	}
	if err := s.restore(e.Container); err != nil {
		return fmt.Errorf("append to event store: %w", err)
	}
	if s.size > 0 && s.size+int64(len(line)) > s.limit {
		dropped, err := s.rotate()
		if err != nil {
			return fmt.Errorf("rotate event store: %w", err)
		}
		if err := s.tell(e.Container); err != nil {
			return err
		}
		if dropped > 0 {
			if err := s.note(e.Container, dropped); err != nil {
				return err
			}
		}
	}
	return s.write(line)
}

func (s *Store) write(line []byte) error {
	if s.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := s.file.Write(line)
	if err != nil {
		// The partial line would be taken for the start of the next one.
		if n > 0 && s.file.Truncate(s.size) != nil {
			s.torn = true
			s.size += int64(n)
		}
		return fmt.Errorf("append to event store: %w", err)
	}
	s.torn = false
	s.size += int64(n)
	return nil
}

// rotate makes room, and returns the number of bytes of older events that were dropped.
func (s *Store) rotate() (int64, error) {
	to, dropped := fileOlder, int64(0)
	if first, err := os.Lstat(s.path(fileFirst)); errors.Is(err, fs.ErrNotExist) || err == nil && !first.Mode().IsRegular() {
		to = fileFirst
	}
	if last, err := os.Lstat(s.path(to)); err == nil && last.Mode().IsRegular() {
		dropped = last.Size()
	} else if err == nil {
		if err := s.displace(to); err != nil {
			return 0, err
		}
	}
	if err := os.Rename(s.path(fileCurrent), s.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	old := s.file
	if err := s.open(); err != nil {
		s.moved = true
		return 0, err // s.file stays as it was, and full: the next Append tries again
	}
	return dropped, old.Close()
}

func (s *Store) note(container Container, dropped int64) error {
	line, err := Line(Event{
		Time: time.Now(), Kind: KindNotice, Severity: SeverityWarning, Container: container,
		Message: fmt.Sprintf("this container's event store is full: %d bytes of events were dropped, the first and the latest ones are kept", dropped),
	})
	if err != nil {
		return err
	}
	return s.write(line)
}

// Close closes the store after syncing it to disk.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return errors.Join(file.Sync(), file.Close(), s.lock.Close())
}

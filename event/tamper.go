package event

import (
	"fmt"
	"os"
	"time"
)

// restore ensures that the next event goes where a reader finds it: root in a container that has
// the store mounted may truncate the file, write into it, remove it, or put a pipe in its place.
// What is lost stays lost, but the loss is recorded as an event. The caller holds s.mu.
func (s *Store) restore(container Container) error {
	s.relock()
	have, err := s.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(s.path(fileCurrent))
	var done string
	switch {
	case err != nil || !os.SameFile(have, named):
		done = "removed or replaced its file"
	case have.Size() < s.size:
		done = "cut its file short"
	case have.Size() > s.size:
		done = "wrote into its file"
	default:
		return s.tell(container)
	}
	known, old, rotated := s.size, s.file, s.moved
	if err := s.open(); err != nil {
		return err // s.file stays as it was: the next Append tries again
	}
	s.moved = false
	_ = old.Close() // nothing more will be written to it
	if s.tampered == "" && !rotated {
		s.tampered = fmt.Sprintf("%s in this container's event store, which had %d bytes", done, known)
	}
	return s.tell(container)
}

// tell records what someone else did to the store, if anything. The caller holds s.mu.
func (s *Store) tell(container Container) error {
	if s.tampered == "" {
		return nil
	}
	line, err := Line(Event{
		Time: time.Now(), Kind: KindNotice, Severity: SeverityCritical, Container: container,
		Message: fmt.Sprintf("somebody other than shimward %s: do not rely on it to be complete, and find out who can write to %s", s.tampered, s.dir),
	})
	if err == nil {
		err = s.write(line)
	}
	if err == nil {
		s.tampered = ""
	}
	return err
}

// relock locks the folder again if its lock file was unlinked or replaced, so that Sweep does not
// take the container for ended. If it fails, the next Append tries again.
func (s *Store) relock() {
	have, err := s.lock.Stat()
	if err != nil {
		return
	}
	if named, err := os.Lstat(s.path(fileLock)); err == nil && os.SameFile(have, named) {
		return
	}
	lock, err := s.makeLocked()
	if err != nil {
		return
	}
	_ = s.lock.Close() // it was opened only for its lock
	s.lock = lock
}

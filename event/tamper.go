package event

import (
	"fmt"
	"os"
	"time"
)

// restore sees to it that the next event goes where a reader finds it: root in a
// container that has the store mounted may cut the file short, write into it, remove it, or put a pipe in its place.
// What is gone is gone; that it is gets an event. s.mu is held.
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
	_ = old.Close() // nothing is left to be written to it
	if s.tampered == "" && !rotated {
		s.tampered = fmt.Sprintf("%s in this container's event store, which had %d bytes", done, known)
	}
	return s.tell(container)
}

// tell stores what somebody did to the store, where somebody did. s.mu is held.
func (s *Store) tell(container Container) error {
	if s.tampered == "" {
		return nil
	}
	line, err := Line(Event{
		Time: time.Now(), Kind: KindNotice, Severity: SeverityCritical, Container: container,
		Message: fmt.Sprintf("somebody else than shimward %s: do not take it for complete, and see who can write to %s", s.tampered, s.dir),
	})
	if err == nil {
		err = s.write(line)
	}
	if err == nil {
		s.tampered = ""
	}
	return err
}

// relock locks the folder again where its lock has lost its name, lest a Sweep
// takes the container for ended. Where it cannot, the next Append tries again.
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
	_ = s.lock.Close() // it was opened for its lock
	s.lock = lock
}

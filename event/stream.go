package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// stream reads one container's folder, through its files in order, while it may be written and rotated.
type stream struct {
	dir     string
	file    *os.File // the one that it is in; nil before the first
	buffer  []byte   // read, not yet given out
	long    bool     // within a line that is over MaxLine
	skipped uint64   // lines that are no events
}

// next is the next event, io.EOF where there is none yet.
func (s *stream) next() (Event, error) {
	for {
		line, ok := s.line()
		if ok {
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			e, err := ParseLine(line)
			if err != nil {
				s.skipped++ // torn by a crash, or of another version: no reason to hide the rest
				continue
			}
			return e, nil
		}
		if err := s.fill(); err != nil {
			return Event{}, err
		}
	}
}

// line is a whole line out of the buffer.
func (s *stream) line() ([]byte, bool) {
	end := bytes.IndexByte(s.buffer, '\n')
	if end < 0 {
		if len(s.buffer) > MaxLine {
			s.long = true
			s.buffer = s.buffer[:0]
		}
		return nil, false
	}
	line := s.buffer[:end]
	s.buffer = s.buffer[end+1:]
	if s.long {
		s.long = false
		s.skipped++
		return nil, true
	}
	return line, true
}

// fill reads on, in the next file once this one has ended.
func (s *stream) fill() error {
	if s.file == nil {
		return s.advance()
	}
	n, err := s.read()
	if n > 0 || err != nil {
		return err
	}
	next, err := s.following()
	if err != nil {
		return err
	}
	// There is a next file, so this one is written no more: what is not there now never will be.
	n, err = s.read()
	if n > 0 || err != nil {
		return errors.Join(err, next.Close())
	}
	if len(s.buffer) > 0 || s.long {
		s.skipped++
	}
	s.buffer, s.long = s.buffer[:0], false
	err = s.file.Close()
	s.file = next
	return err
}

func (s *stream) read() (int, error) {
	const chunk = 32 << 10
	s.buffer = append(s.buffer, make([]byte, chunk)...)
	n, err := s.file.Read(s.buffer[len(s.buffer)-chunk:])
	s.buffer = s.buffer[:len(s.buffer)-chunk+max(n, 0)]
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read events: %w", err)
	}
	return n, nil
}

func (s *stream) advance() error {
	next, err := s.following()
	if err != nil {
		return err
	}
	s.file = next
	return nil
}

// following opens the file after the one that s is in; io.EOF if there is none.
func (s *stream) following() (*os.File, error) {
	names := []string{fileFirst, fileOlder, fileCurrent}
	if s.file != nil {
		here, err := s.file.Stat()
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		// A file that has no name any more was dropped; the first one never is.
		names = s.after(here, names)
	}
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // a fixed name in the store's own folder
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		return file, nil
	}
	return nil, io.EOF
}

func (s *stream) after(here fs.FileInfo, names []string) []string {
	for i, name := range names {
		info, err := os.Lstat(filepath.Join(s.dir, name))
		if err == nil && os.SameFile(info, here) {
			return names[i+1:]
		}
	}
	return names[1:]
}

func (s *stream) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

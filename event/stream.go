package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// stream reads the files of one container's folder in order, while they may be written and rotated.
type stream struct {
	dir     string
	folder  *os.File // dir as it was opened; nil unless opened by openStream
	file    *os.File // the current one; nil before the first
	buffer  []byte   // read, but not yet returned
	long    bool     // inside a line longer than MaxLine
	skipped uint64   // lines that are not events
}

// openStream opens a folder so that a later one of the same name can be told from it: while it is
// open, no other folder has its inode number.
func openStream(dir string) (*stream, error) {
	folder, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0) //nolint:gosec // a folder of the store
	if err != nil {
		return nil, err
	}
	return &stream{dir: dir, folder: folder}, nil
}

// here reports whether the folder's name still refers to this folder.
func (s *stream) here() bool {
	named, err := os.Lstat(s.dir)
	if err != nil || s.folder == nil {
		return err == nil
	}
	have, err := s.folder.Stat()
	return err == nil && os.SameFile(have, named)
}

// next returns the next event, or io.EOF if there is none yet. A file may be long without having
// any, so ctx can end it.
func (s *stream) next(ctx context.Context) (Event, error) {
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
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		if err := s.fill(); err != nil {
			return Event{}, err
		}
	}
}

// line returns a complete line from the buffer.
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

// fill reads on, continuing with the next file once this one has ended.
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
	// As there is a next file, this one is no longer written: whatever is not in it now never will
	// be.
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

// following opens the file after the one that s is in, or returns io.EOF if there is none. The
// writer may rotate between any two looks at the folder, so following looks again until nothing has
// moved meanwhile: otherwise a file could be found under its next name and be read twice.
func (s *stream) following() (*os.File, error) {
	var here fs.FileInfo
	if s.file != nil {
		var err error
		if here, err = s.file.Stat(); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
	}
	for range looks {
		next, err := s.look(here)
		if !errors.Is(err, errMoved) {
			return next, err
		}
	}
	return nil, io.EOF
}

// looks is the maximum number of looks by following: a folder in which something keeps moving is
// read no further for now.
const looks = 1000

// errMoved is look's error if the writer rotated in the middle of it.
var errMoved = errors.New("rotated meanwhile")

// look opens the file after here. The error is io.EOF if there is none, and errMoved if that cannot
// be determined.
func (s *stream) look(here fs.FileInfo) (*os.File, error) {
	seen, err := s.list()
	if err != nil {
		return nil, err
	}
	next, none := s.open(after(here, seen))
	if none != nil && !errors.Is(none, io.EOF) {
		return nil, none
	}
	again, err := s.list()
	if err == nil && !slices.EqualFunc(seen, again, sameEntry) {
		err = errMoved
	}
	if err == nil {
		return next, none
	}
	if next != nil {
		err = errors.Join(err, next.Close())
	}
	return nil, err
}

// entry is a file of the folder. Its FileInfo is nil if there is no file of that name, or it is of
// a kind that a store does not create.
type entry struct {
	name string
	info fs.FileInfo
}

func sameEntry(a, b entry) bool {
	if a.info == nil || b.info == nil {
		return a.info == nil && b.info == nil
	}
	return os.SameFile(a.info, b.info)
}

// list returns the folder's files in the order of their events, or io.EOF once the folder is gone.
func (s *stream) list() ([]entry, error) {
	entries := []entry{{name: fileFirst}, {name: fileOlder}, {name: fileCurrent}}
	for i := range entries {
		info, err := os.Lstat(filepath.Join(s.dir, entries[i].name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		if info.Mode().IsRegular() {
			entries[i].info = info
		}
	}
	if !s.here() { // checked last: a folder that is gone does not come back
		return nil, io.EOF
	}
	return entries, nil
}

// after returns the entries after here. A file that no longer has a name was dropped; the first one
// never is.
func after(here fs.FileInfo, entries []entry) []entry {
	if here == nil {
		return entries
	}
	for i, one := range entries {
		if one.info != nil && os.SameFile(one.info, here) {
			return entries[i+1:]
		}
	}
	return entries[1:]
}

// open opens the first of entries that exists. The error is io.EOF if none does.
func (s *stream) open(entries []entry) (*os.File, error) {
	first := slices.IndexFunc(entries, func(one entry) bool { return one.info != nil })
	if first < 0 {
		return nil, io.EOF
	}
	path := filepath.Join(s.dir, entries[first].name)
	file, err := openRegular(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errForeign) || errors.Is(err, unix.EAGAIN) {
		return nil, errMoved
	}
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	opened, err := file.Stat()
	if err == nil && !os.SameFile(opened, entries[first].info) {
		err = errMoved
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (s *stream) close() error {
	var failed error
	for _, one := range []*os.File{s.file, s.folder} {
		if one != nil {
			failed = errors.Join(failed, one.Close())
		}
	}
	return failed
}

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// output is what a container's init writes, read through named pipes that the shim opens.
type output struct{ stdout, stderr *stream }

func newOutput(dir string) (_ *output, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	o := &output{}
	if o.stdout, err = newStream(filepath.Join(dir, "stdout")); err != nil {
		return nil, err
	}
	if o.stderr, err = newStream(filepath.Join(dir, "stderr")); err != nil {
		return nil, errors.Join(err, o.stdout.close(true))
	}
	return o, nil
}

func (o *output) close(ended bool) error {
	return errors.Join(o.stdout.close(ended), o.stderr.close(ended))
}

// stream is one named pipe.
type stream struct {
	path   string
	reader *os.File
	writer *os.File // keeps the pipe from reaching end of file until close
	read   chan error

	mu      sync.Mutex
	text    bytes.Buffer             // guarded by mu
	waiting map[string]chan struct{} // guarded by mu
}

func newStream(path string) (*stream, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make the pipe %s: %w", path, err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the pipe that was just made
	if err != nil {
		return nil, err
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // the same
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	s := &stream{path: path, reader: reader, writer: writer, read: make(chan error, 1), waiting: map[string]chan struct{}{}}
	go func() {
		_, err := io.Copy(s, reader)
		s.read <- err
	}()
	return s, nil
}

// close waits for the rest of the output if the container has ended, and its shim with it. If it
// has not, because containerd is gone, close does not wait: the shim has the pipe open as long as
// it lives.
func (s *stream) close(ended bool) error {
	if s == nil { // of a container that another verify created
		return nil
	}
	err := s.writer.Close()
	if ended {
		return errors.Join(err, <-s.read, s.reader.Close())
	}
	err = errors.Join(err, s.reader.Close())
	if read := <-s.read; !errors.Is(read, os.ErrClosed) {
		err = errors.Join(err, read)
	}
	return err
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	for text, found := range s.waiting {
		if bytes.Contains(s.text.Bytes(), []byte(text)) {
			close(found)
			delete(s.waiting, text)
		}
	}
	return len(p), nil
}

// watch returns a channel that is closed once text has been written.
func (s *stream) watch(text string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(chan struct{})
	if bytes.Contains(s.text.Bytes(), []byte(text)) {
		close(found)
		return found
	}
	s.waiting[text] = found
	return found
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

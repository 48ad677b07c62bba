// Package procfile reads files of proc(5) for those who do so while a process
// waits: with three or four system calls and no garbage, where an os.File takes ten
// and leaves some kilobytes. What is in the files it does not know.
package procfile

import (
	"bytes"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Read returns all of a file: in buffer, if that is larger. The error is an [fs.PathError].
func Read(path string, buffer []byte) ([]byte, error) {
	return read(path, buffer, true)
}

// Head returns what the buffer holds of the start of a file. The error is an [fs.PathError].
func Head(path string, buffer []byte) ([]byte, error) {
	return read(path, buffer, false)
}

func read(path string, buffer []byte, whole bool) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // opened for reading
	text := buffer[:0]
	for {
		if len(text) == cap(text) {
			if !whole {
				return text, nil
			}
			text = append(text, 0)[:len(text)]
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return text, nil
		}
		text = text[:len(text)+n]
	}
}

// Line cuts the first line off a text, and Field the first of its fields, which
// blanks part: without the closures of package bytes, whose text escapes to the heap. What
// is cut off is empty where there is none.
func Line(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte("\n"))
	return line, rest
}

// Field is told of at Line.
func Field(text []byte) (field, rest []byte) {
	from := 0
	for from < len(text) && blank(text[from]) {
		from++
	}
	to := from
	for to < len(text) && !blank(text[to]) {
		to++
	}
	return text[from:to], text[to:]
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

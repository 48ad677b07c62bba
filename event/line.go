package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine is the maximum length of a line of the store in bytes, including its newline.
const MaxLine = 64 << 10

// Line encodes the event as a line of JSON, including the newline, with every part within its
// limit.
func Line(e Event) ([]byte, error) {
	e = e.bounded()
	line, err := encode(e)
	if err == nil && len(line) > MaxLine {
		line, err = encode(e.lean())
	}
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	if len(line) > MaxLine {
		return nil, fmt.Errorf("encode event: %d bytes, a line has at most %d", len(line), MaxLine)
	}
	return line, nil
}

func encode(e Event) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false) // a message says /proc/<pid>/mem, and people grep for that
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	return escapeControls(buffer.Bytes()), nil
}

// escapeControls escapes characters that JSON allows in strings although terminals act on them:
// DEL, the C1 controls (some terminals read U+009B as the start of an escape sequence) and the
// invisible characters that reverse text. Outside strings JSON is ASCII, so this changes strings
// only, and not their meaning.
func escapeControls(line []byte) []byte {
	unsafe := func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }
	if bytes.IndexFunc(line, unsafe) < 0 {
		return line
	}
	escaped := make([]byte, 0, len(line)+64)
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		switch {
		case !unsafe(r):
			escaped = append(escaped, line[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
		line = line[size:]
	}
	return escaped
}

// ParseLine parses a line of the store. It ignores unknown fields, as a later version may add some;
// a line that is not an event is an error.
func ParseLine(line []byte) (Event, error) {
	if len(line) > MaxLine {
		return Event{}, fmt.Errorf("parse event: %d bytes, a line has at most %d", len(line), MaxLine)
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, fmt.Errorf("parse event: %w", err)
	}
	if e.Schema != Schema {
		return Event{}, fmt.Errorf("parse event: schema is %.64q, this version reads %q", e.Schema, Schema)
	}
	if e.Kind == "" {
		return Event{}, errors.New("parse event: it has no kind")
	}
	if e.Kind == KindAccess && e.Access == nil {
		return Event{}, errors.New("parse event: its kind is access, but it has no access")
	}
	return e.bounded(), nil
}

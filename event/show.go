package event

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// show formats an untrusted name as one word of a line: bare if it consists of ordinary characters,
// otherwise quoted, with everything escaped that does not appear as itself.
func show(text string) string {
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !ordinary(r) }) < 0 {
		return text
	}
	return `"` + escape(text, `"\`) + `"`
}

// sentence formats free text for the rest of a line.
func sentence(text string) string { return escape(text, "") }

// escape escapes each character in also, and each that does not appear as itself: controls, invalid
// bytes, invisible characters, those that reverse text, and combining marks, which can be piled up
// until they cover their neighbours.
func escape(text, also string) string {
	var escaped strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&escaped, `\x%02x`, text[0])
		case strings.ContainsRune(also, r):
			escaped.WriteByte('\\')
			escaped.WriteRune(r)
		case unicode.IsPrint(r) && !unicode.Is(unicode.M, r):
			escaped.WriteString(text[:size])
		case r == '\n':
			escaped.WriteString(`\n`)
		case r == '\t':
			escaped.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&escaped, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		default:
			fmt.Fprintf(&escaped, `\U%08x`, r)
		}
		text = text[size:]
	}
	return escaped.String()
}

func ordinary(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:+@%", r)
}

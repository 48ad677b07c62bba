package policy

import (
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	seen := map[string]string{}
	for _, test := range [][2]string{
		{"a", "/b1"},
		{"a", "/b2"},
		{"a.b", "/b3"},
		{"../../x", "/b4"},
		{"\x00\x1b", "/b5"},
		{"", "/b6"},
		{strings.Repeat("f", 64), "/b7"},
		{"日本", "/b8"},
	} {
		key := Key(test[0], test[1])
		if strings.ContainsFunc(key, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) || len(key) > maxKeyName+1+2*keySum {
			t.Errorf("Key(%q, %q) = %q", test[0], test[1], key)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have one key", other, test[1])
		}
		seen[key] = test[1]
	}
	if Key("a", "/b/") != Key("a", "/b") {
		t.Error("one bundle has two keys")
	}
}

// A socket's path has at most 108 bytes including the NUL (unix(7)).
func TestNotifyFitsASocket(t *testing.T) {
	paths := DefaultPaths()
	paths.Run = "/" + strings.Repeat("r", maxRun-1)
	if err := paths.check(); err != nil {
		t.Fatal(err)
	}
	if got := len(paths.Notify(Key(strings.Repeat("f", 64), "/b"))); got > 107 {
		t.Errorf("a socket's path of %d bytes", got)
	}
}

package access

import (
	"encoding"
	"encoding/json"
	"fmt"
	"testing"
)

// named is the interface that every enumeration in this package implements.
type named interface {
	fmt.Stringer
	encoding.TextMarshaler
}

// inverse checks that each value has a name of its own, and that the name parses back to the value.
func inverse[T interface {
	~uint8
	named
}, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, from, to int,
) {
	t.Helper()
	names := map[string]bool{"": true}
	for i := from; i < to; i++ {
		value := T(i)
		text, err := value.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if names[string(text)] {
			t.Errorf("%T(%d): the name %q is empty or taken", value, i, text)
		}
		names[string(text)] = true
		var back T
		if err := P(&back).UnmarshalText(text); err != nil || back != value {
			t.Errorf("%T: %q comes back as %v, %v", value, text, back, err)
		}
	}
	var back T
	for _, bad := range []string{"", "unknown(9)", "Read", "\x1b[2J"} {
		if err := P(&back).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%T: took %q for %v", back, bad, back)
		}
	}
	if got, want := T(to).String(), fmt.Sprintf("unknown(%d)", to); got != want {
		t.Errorf("%T(%d) is %q, want %q: a table is longer than its values", back, to, got, want)
	}
}

func TestNames(t *testing.T) {
	inverse[Vector](t, 0, Vectors)
	inverse[Operation](t, 1, int(OperationWrite)+1)
	inverse[Relation](t, 1, Relations)
	inverse[Verdict](t, 1, Verdicts)
	inverse[Sensor](t, 1, Sensors)
	inverse[Tier](t, 1, int(TierLSM)+1)
}

// Without its MarshalText, a slice of small integers would be encoded as base64 in JSON.
func TestSensorsInJSON(t *testing.T) {
	text, err := json.Marshal([]Sensor{SensorAccess, SensorLSM})
	if err != nil || string(text) != `["access","lsm"]` {
		t.Errorf("got %s, %v", text, err)
	}
	var back []Sensor
	if err := json.Unmarshal(text, &back); err != nil || len(back) != 2 || back[1] != SensorLSM {
		t.Errorf("got %v, %v", back, err)
	}
}

func TestTechnique(t *testing.T) {
	for vector, want := range map[Vector]string{VectorProcMem: "T1055.009", VectorPtrace: "T1055.008", VectorUnknown: "T1055.009", 200: "T1055.009"} {
		if got := vector.Technique(); got != want {
			t.Errorf("%s: got %s, want %s", vector, got, want)
		}
	}
}

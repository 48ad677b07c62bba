package bpf

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"

	"github.com/shimward/shimward/access"
)

// The counters have room for everything that package access defines.
var _ [access.Vectors][access.Verdicts][access.Sensors]uint64 = kernelState{}.Counts

// The kernel side uses the same numbers as package access.
func TestVocabulary(t *testing.T) {
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for name, word := range map[string]func(uint8) string{
		"vector":    func(v uint8) string { return access.Vector(v).String() },
		"operation": func(v uint8) string { return access.Operation(v).String() },
		"relation":  func(v uint8) string { return access.Relation(v).String() },
		"verdict":   func(v uint8) string { return access.Verdict(v).String() },
		"sensor":    func(v uint8) string { return access.Sensor(v).String() },
	} {
		var enum *btf.Enum
		if err := spec.Types.TypeByName(name, &enum); err != nil {
			t.Fatal(err)
		}
		for _, value := range enum.Values {
			want := strings.ToUpper(name) + "_" + strings.ToUpper(strings.ReplaceAll(word(uint8(value.Value)), "-", "_"))
			switch {
			case strings.HasSuffix(value.Name, "_END"):
				if !strings.HasPrefix(word(uint8(value.Value)), "unknown(") {
					t.Errorf("%s is %d, which has the name %s", value.Name, value.Value, want)
				}
			case value.Name != want:
				t.Errorf("%d is %s here and %s there", value.Value, value.Name, want)
			}
		}
	}
	for name, want := range map[string]Flags{
		"FLAG_INBOUND": FlagInbound, "FLAG_WOULD_REFUSE": FlagWouldRefuse, "FLAG_TRACEME": FlagTraceme,
		"FLAG_ALLOWED": FlagAllowed, "FLAG_COMPAT": FlagCompat, "FLAG_INBOUND_RULE": FlagInboundRule,
		"FLAG_HOST_ACTOR": FlagHostActor, "FLAG_KILL_FAILED": FlagKillFailed,
	} {
		var enum *btf.Enum
		if err := spec.Types.TypeByName("record_flag", &enum); err != nil {
			t.Fatal(err)
		}
		var found bool
		for _, value := range enum.Values {
			found = found || value.Name == name && value.Value == uint64(want)
		}
		if !found {
			t.Errorf("%s is not %d", name, want)
		}
	}
}

// Go's structs have the same layout as C's, with no padding that differs.
func TestLayout(t *testing.T) {
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"record": kernelRecord{}, "process": kernelProcess{}, "container": kernelContainer{}, "state": kernelState{},
		"executable": kernelExecutable{}, "grant": kernelGrant{}, "guard": kernelGuard{}, "settings": kernelSettings{},
		"traffic": kernelTraffic{}, "flow": kernelFlow{}, "tally": kernelTally{}, "trial": kernelTrial{},
		"learned_node": kernelLearnedNode{}, "learned_file": kernelLearnedFile{}, "learned_table": kernelLearnedTable{},
	} {
		var c *btf.Struct
		if err := spec.Types.TypeByName(name, &c); err != nil {
			t.Fatal(err)
		}
		if got := binary.Size(value); got != int(c.Size) {
			t.Errorf("struct %s has %d bytes here and %d there", name, got, c.Size)
		}
	}
}

func TestParseRecord(t *testing.T) {
	in := kernelRecord{Vector: 3, Operation: 2, Relation: 6, Verdict: 3, Sensor: 1}
	copy(in.Actor.Args[:], []int8{'a', 0, 'b', -1, 0})
	in.Actor.ArgsLen = 1 << 31 // more than the field holds
	for i := range in.Actor.Comm {
		in.Actor.Comm[i] = 'x' // no NUL
	}
	raw, err := binary.Append(nil, binary.NativeEndian, in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.Actor.Comm != strings.Repeat("x", 16) || r.Actor.Args[0] != "a" || r.Actor.Args[1] != "b\ufffd" {
		t.Errorf("%+v", r.Actor)
	}
	in.Vector = 200
	if raw, err = binary.Append(nil, binary.NativeEndian, in); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"no vector": raw, "short": raw[:9], "long": append(raw, 0), "empty": nil} {
		if _, err := parseRecord(bad); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(make([]byte, binary.Size(kernelRecord{})))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseRecord(raw)
		if err == nil && !utf8.ValidString(r.Actor.Comm+r.Target.Exe+strings.Join(r.Actor.Args, "")) {
			t.Errorf("%+v", r)
		}
	})
}

func TestSymbolSize(t *testing.T) {
	for symbol, want := range map[string]uint64{"mem_read+0x0/0x20": 0x20, "io_read+0x0/0x1a4 [io_uring]": 0x1a4} {
		if got, err := symbolSize(symbol); err != nil || got != want {
			t.Errorf("%q: %d, %v", symbol, got, err)
		}
	}
	for _, symbol := range []string{"", "0xffffffff81000000", "mem_read"} {
		if got, err := symbolSize(symbol); err == nil {
			t.Errorf("%q: %d", symbol, got)
		}
	}
}

package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shimward/shimward/access"
)

func moment(offset time.Duration) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(offset)
}

func container(id string) Container {
	return Container{ID: id, Namespace: "k8s.io", Name: "app", Image: "nginx", Pod: "web-0", PodNamespace: "prod", PodUID: "1-2"}
}

func accessEvent() Event {
	return Event{
		Schema: Schema, Time: moment(0), Kind: KindAccess, Severity: SeverityCritical, Container: container("abc"),
		Access: &Access{
			Vector: access.VectorProcMem, Operation: access.OperationRead, Relation: access.RelationSamePod,
			Verdict: access.VerdictRefused, Sensors: []access.Sensor{access.SensorLSM, access.SensorSeccomp},
			Rule: "baseline.same_pod", Policy: strings.Repeat("0", 64), Technique: "T1055.009",
			Actor: Process{
				PID: 4711, TID: 4712, PIDInside: 7, UID: 1000, Comm: "cat", Exe: "/bin/cat", Cmdline: "cat /proc/1/mem", Container: "abc",
				Origin: &Origin{Kind: "exec", ExecID: "e1", PID: 4700}, Ancestry: []Ancestor{{4700, "sh"}, {1, "init"}},
			},
			Target: Process{PID: 77, Comm: "nginx", Container: "def"},
			Count:  3, Last: moment(time.Second),
			Network: []Flow{{Direction: "out", Protocol: "tcp", Peer: "192.0.2.1:443", Count: 2, Last: moment(0)}},
		},
	}
}

func TestLineRoundTrip(t *testing.T) {
	code := 137
	for _, e := range []Event{
		accessEvent(),
		{Time: moment(0), Kind: KindExited, Container: container("abc"), Process: &Process{PID: 3, Comm: "sh"}, ExitCode: &code},
		{Time: moment(0), Kind: KindNotice, Message: "42 records were lost"},
	} {
		line, err := Line(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		if want := e.bounded(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// The names in the file are a contract with its readers.
func TestLineNames(t *testing.T) {
	line, err := Line(accessEvent())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"schema":"shimward.dev/event/v1"`, `"time":"2026-03-01T12:00:00Z"`, `"kind":"access"`, `"severity":"critical"`,
		`"vector":"proc_mem"`, `"operation":"read"`, `"relation":"same-pod"`, `"inbound":false`, `"verdict":"refused"`,
		`"sensors":["lsm","seccomp"]`, `"technique":"T1055.009"`, `"count":3`, `"pid_inside":7`, `"exec_id":"e1"`,
		`"message":"cat[4711] tried to read the memory of nginx[77] (same-pod) through /proc/<pid>/mem, and was refused"`,
	} {
		if !bytes.Contains(line, []byte(want)) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

// An event that is empty, or has values without a name, is stored in a form that can be read again.
func TestLineOfAnythingCanBeRead(t *testing.T) {
	for name, e := range map[string]Event{
		"far future":   {Kind: KindNotice, Time: moment(0).AddDate(8000, 0, 0)},
		"far past":     {Kind: KindNotice, Time: moment(0).AddDate(-8000, 0, 0)},
		"empty access": {Kind: KindAccess, Access: &Access{}},
		"no names": {Kind: KindAccess, Access: &Access{
			Vector: 200, Operation: 200, Relation: 200, Verdict: 200, Sensors: []access.Sensor{0, 200, access.SensorLSM, access.SensorLSM},
		}},
		"all controls": hostile(strings.Repeat("\x01", 1<<20)),
		"all invalid":  hostile(strings.Repeat("\xff", 1<<20)),
		"all C1":       hostile(strings.Repeat("\u009b", 1<<20)),
		"all astral":   hostile(strings.Repeat("\U000e0001", 1<<20)),
	} {
		line, err := Line(e)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(line) > MaxLine || bytes.Count(line, []byte{'\n'}) != 1 {
			t.Errorf("%s: %d bytes, %d newlines", name, len(line), bytes.Count(line, []byte{'\n'}))
		}
		if _, err := ParseLine(line); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hostile returns an event with text in every place that takes text.
func hostile(text string) Event {
	e := accessEvent()
	e.Kind, e.Severity = Kind(text), Severity(text)
	e.Container = Container{text, text, text, text, text, text, text}
	process := Process{
		PID: 1, TID: 2, PIDInside: 3, Comm: text, Exe: text, Cmdline: text, Container: text,
		Origin: &Origin{Kind: text, ExecID: text}, Ancestry: slices.Repeat([]Ancestor{{1, text}}, 1000),
	}
	e.Process = &process
	a := e.Access
	a.Syscall, a.Request, a.Rule, a.Unenforced, a.Policy, a.Technique = text, text, text, text, text, text
	a.Actor, a.Target = process, process
	a.Network = slices.Repeat([]Flow{{Direction: text, Protocol: text, Peer: text}}, 1000)
	return e
}

func TestBoundedLeavesItsArgumentAlone(t *testing.T) {
	e := hostile(strings.Repeat("x", 5000))
	want, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	e.bounded()
	e.lean()
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("it changed")
	}
}

func TestParseLineRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"empty":          "",
		"half":           `{"schema":"shimward.dev/event/v1","kind":"acc`,
		"no object":      `[]`,
		"another schema": `{"schema":"shimward.dev/event/v2","kind":"access"}`,
		"no kind":        `{"schema":"shimward.dev/event/v1"}`,
		"no access":      `{"schema":"shimward.dev/event/v1","kind":"access"}`,
		"unknown vector": `{"schema":"shimward.dev/event/v1","kind":"access","access":{"vector":"magic"}}`,
		"two":            `{"schema":"shimward.dev/event/v1","kind":"notice"} {}`,
		"too long":       `{"schema":"shimward.dev/event/v1","kind":"notice","message":"` + strings.Repeat("x", MaxLine) + `"}`,
	} {
		if e, err := ParseLine([]byte(line)); err == nil {
			t.Errorf("%s: got %+v", name, e)
		}
	}
	if _, err := ParseLine([]byte(`{"schema":"shimward.dev/event/v1","kind":"notice","later":[1]}`)); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
}

func TestText(t *testing.T) {
	code := 1
	inbound := accessEvent()
	inbound.Access.Inbound, inbound.Access.Count, inbound.Access.Unenforced = true, 1, "mode=audit"
	inbound.Access.Verdict, inbound.Access.Vector, inbound.Access.Request = access.VerdictObserved, access.VectorPtrace, "PTRACE_SEIZE"
	self := accessEvent()
	self.Access.Relation, self.Access.Vector = access.RelationSelf, access.VectorSelfMem
	plain := Event{Time: moment(0), Kind: KindExited, Container: Container{ID: strings.Repeat("f", 64)}, Process: &Process{PID: 3, Comm: "sh"}, ExitCode: &code}
	for name, test := range map[string]struct {
		event Event
		wide  bool
		want  string
	}{
		"access":  {accessEvent(), false, "2026-03-01T12:00:00.000Z  critical  refused   prod/web-0/app  cat[4711] read nginx[77] (same-pod) by proc_mem x3 rule=baseline.same_pod\n"},
		"inbound": {inbound, false, "2026-03-01T12:00:00.000Z  critical  observed  prod/web-0/app  cat[4711] read nginx[77] (same-pod) by ptrace PTRACE_SEIZE inbound rule=baseline.same_pod unenforced=\"mode=audit\"\n"},
		"self":    {self, false, "2026-03-01T12:00:00.000Z  critical  refused   prod/web-0/app  cat[4711] read itself (self) by self_mem x3 rule=baseline.same_pod\n"},
		"exited":  {plain, false, "2026-03-01T12:00:00.000Z  info      exited    ffffffffffff  a process of the container ended: sh[3] with exit code 1\n"},
		"wide": {accessEvent(), true, "2026-03-01T12:00:00.000Z  critical  refused   prod/web-0/app  cat[4711] read nginx[77] (same-pod) by proc_mem x3 rule=baseline.same_pod" +
			` sensors=lsm,seccomp technique=T1055.009 actor.uid=1000 actor.tid=4712 actor.pid_inside=7 actor.exe=/bin/cat actor.cmdline="cat /proc/1/mem"` +
			" actor.container=abc actor.origin=exec:e1 actor.ancestry=sh[4700]<init[1] target.uid=0 target.container=def net=out:tcp:192.0.2.1:443:x2@12:00:00\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := (Text{Out: &out, Wide: test.wide}).Render(test.event); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got  %s\nwant %s", out.String(), test.want)
			}
		})
	}
}

// The observed process chooses these names, and must not be able to insert anything that is not
// marked as coming from it.
func TestTextCannotBeForged(t *testing.T) {
	for name, text := range map[string]string{
		"newline":          "x\n2026-03-01T12:00:00.000Z  info      started   prod/web-0/app  all is well",
		"carriage return":  "x\r2026",
		"clear screen":     "\x1b[2J\x1b[H",
		"title":            "\x1b]0;owned\x07",
		"C1":               "\u009b2J",
		"raw C1":           "\x9b2J",
		"backspace":        "cat\b\b\bgdb",
		"delete":           "a\x7f",
		"turned around":    "\u202etac",
		"zero width":       "c\u200bat",
		"byte order mark":  "\ufeffcat",
		"line separator":   "a\u2028b",
		"piled up":         "a" + strings.Repeat("\u0301", 50),
		"tag":              "\U000e0041",
		"field":            "x target.exe=/bin/true",
		"key":              "rule=x",
		"quote":            `a" rule="b`,
		"backslash":        `a\`,
		"nothing":          "",
		"non-breaking":     "a\u00a0b",
		"ideographic":      "a\u3000b",
		"invalid":          "\xc3\x28\xff",
		"noncharacter":     "\uffff",
		"private":          "\ue000",
		"interlinear":      "\ufff9",
		"hangul filler":    "\u3164",
		"variation select": "a\ufe0f",
	} {
		t.Run(name, func(t *testing.T) {
			e := hostile(text)
			e.Message = ""
			checkHostile(t, e)
			e.Access = nil
			checkHostile(t, e)
			e.Kind = KindExec
			checkHostile(t, e)
			e.Message = text
			checkHostile(t, e)
		})
	}
}

// checkHostile renders e in every way, and checks that the output contains nothing but text.
func checkHostile(t *testing.T, e Event) {
	t.Helper()
	var text, wide, lines strings.Builder
	for _, err := range []error{(Text{Out: &text}).Render(e), (Text{Out: &wide, Wide: true}).Render(e), JSON{Out: &lines}.Render(e)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, out := range []string{text.String(), wide.String(), lines.String(), Describe(e) + "\n"} {
		line, ok := strings.CutSuffix(out, "\n")
		if !ok || !utf8.ValidString(line) {
			t.Errorf("no line: %q", out)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%U in %q", r, line)
			}
		}
	}
	if !json.Valid([]byte(lines.String())) {
		t.Errorf("no JSON: %q", lines.String())
	}
}

func TestShow(t *testing.T) {
	for text, want := range map[string]string{
		"nginx": "nginx", "/usr/bin/x-1.2": "/usr/bin/x-1.2", "": `""`, "a b": `"a b"`, `a"b`: `"a\"b"`, `a\n`: `"a\\n"`,
		"a\nb": `"a\nb"`, "a\x1bb": `"a\x1bb"`, "\xff": `"\xff"`, "\u009b": `"\u009b"`, "日本": `"日本"`, "a=b": `"a=b"`, "[x]": `"[x]"`,
		"\U000e0041": `"\U000e0041"`, "e\u0301": `"e\u0301"`,
	} {
		if got := show(text); got != want {
			t.Errorf("show(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, text := range []string{strings.Repeat("日", 100), strings.Repeat("\xff", 300), strings.Repeat("a", 300)} {
		got := clip(text, 100)
		if len(got) > 100 || !strings.HasSuffix(got, "...") || utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("clip(%.10q...) = %q", text, got)
		}
	}
	if got := clip("abc", 3); got != "abc" {
		t.Errorf("got %q", got)
	}
}

func TestParseSeverity(t *testing.T) {
	if got, err := ParseSeverity("warning"); got != SeverityWarning || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := ParseSeverity("bad\n"); err == nil || !strings.Contains(err.Error(), "info, warning or critical") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseLine(f *testing.F) {
	for _, e := range []Event{accessEvent(), hostile("\x1b[2J\u009b\xff"), {Kind: KindNotice, Message: "m"}} {
		line, err := Line(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"schema":"shimward.dev/event/v1","kind":"notice","time":"9999-12-31T23:59:59-23:59"}`))
	f.Add([]byte(`{"schema":"shimward.dev/event/v1","kind":"access","access":{"sensors":null,"network":[{}]},"process":{"ancestry":[{}]}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseLine(line)
		if err != nil {
			return
		}
		checkHostile(t, e)
		again, err := Line(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseLine(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[2J")
	f.Add("a\u0301\u202e\xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		e := hostile(text)
		e.Message = text
		checkHostile(t, e)
	})
}

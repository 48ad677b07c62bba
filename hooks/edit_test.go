package hooks

import (
	"encoding/json"
	"strings"
	"testing"
)

var entry = Entry{Binary: "/opt/bin/shimward", Run: "/run/shimward", Socket: "/run/shimward/containers/c/monitor", Host: 7}

const (
	oursCreate   = `{"path":"/opt/bin/shimward","args":["shimward","hook","create-runtime"],"env":["SHIMWARD_RUN=/run/shimward","SHIMWARD_SOCKET=/run/shimward/containers/c/monitor","SHIMWARD_HOST=7"],"timeout":60}`
	oursPoststop = `{"path":"/opt/bin/shimward","args":["shimward","hook","poststop"],"env":["SHIMWARD_RUN=/run/shimward","SHIMWARD_SOCKET=/run/shimward/containers/c/monitor","SHIMWARD_HOST=7"],"timeout":30}`
	oursAll      = `{"createRuntime":[` + oursCreate + `],"poststop":[` + oursPoststop + `]}`
)

func TestEdit(t *testing.T) {
	for name, test := range map[string]struct{ config, want string }{
		"no hooks":     {`{}`, `{"hooks":` + oursAll + `}`},
		"null hooks":   {`{"hooks":null}`, `{"hooks":` + oursAll + `}`},
		"empty lists":  {`{"hooks":{"createRuntime":[],"poststop":null}}`, `{"hooks":` + oursAll + `}`},
		"others first": {`{"hooks":{"createRuntime":[{"path":"/a"}]}}`, `{"hooks":{"createRuntime":[{"path":"/a"},` + oursCreate + `],"poststop":[` + oursPoststop + `]}}`},
		"ours moves to the end": {
			`{"hooks":{"createRuntime":[` + oursCreate + `,{"path":"/a"}]}}`,
			`{"hooks":{"createRuntime":[{"path":"/a"},` + oursCreate + `],"poststop":[` + oursPoststop + `]}}`,
		},
		"an older install's goes": {
			`{"hooks":{"createRuntime":[{"path":"/old/shimward","args":["shimward","hook","create-runtime"]}]}}`,
			`{"hooks":` + oursAll + `}`,
		},
		"unknown fields keep their text": {
			`{"new": {"a":1.00,"b":"<&>","n":12345678901234567890}, "hooks":{"later":[{"x":1e3}]}}`,
			`{"hooks":{"createRuntime":[` + oursCreate + `],"later":[{"x":1e3}],"poststop":[` + oursPoststop + `]},"new":{"a":1.00,"b":"<&>","n":12345678901234567890}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Edit([]byte(test.config), entry)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			again, err := Edit(got, entry)
			if err != nil {
				t.Fatal(err)
			}
			if string(again) != string(got) {
				t.Errorf("edited twice: %s", again)
			}
			if run := RunOf(got); run != entry.Run {
				t.Errorf("RunOf is %q", run)
			}
		})
	}
}

// The hooks of a container that an earlier version made name no socket.
func TestRunOfAnEarlierVersion(t *testing.T) {
	config := `{"hooks":{"createRuntime":[{"path":"/a"},{"path":"/old/shimward","args":["shimward","hook","create-runtime"],"env":["SHIMWARD_RUN=/run/shimward"]}]}}`
	if run := RunOf([]byte(config)); run != "/run/shimward" {
		t.Errorf("got %q", run)
	}
}

func TestEditRefuses(t *testing.T) {
	for name, test := range map[string]struct{ config, want string }{
		"nothing":           {``, "unexpected end"},
		"half":              {`{"hooks":`, "unexpected end"},
		"a list":            {`[]`, "cannot unmarshal array"},
		"hooks a list":      {`{"hooks":[]}`, "cannot unmarshal array"},
		"hooks a string":    {`{"hooks":"x"}`, "cannot unmarshal string"},
		"not a list":        {`{"hooks":{"createRuntime":{}}}`, "not a list of hooks"},
		"another case":      {`{"Hooks":{}}`, `spells it "Hooks"`},
		"another case deep": {`{"hooks":{"createruntime":[]}}`, `spells it "createruntime"`},
		"nested too deep":   {strings.Repeat(`{"hooks":`, 20000), "exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Edit([]byte(test.config), entry)
			if err == nil {
				t.Fatalf("took it: %s", got)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("says %q, want %q in it", err, test.want)
			}
		})
	}
}

func TestEditChangesNothingItWasGiven(t *testing.T) {
	config := []byte(`{"hooks":{"createRuntime":[{"path":"/a"}]}}`)
	before := string(config)
	if _, err := Edit(config, entry); err != nil {
		t.Fatal(err)
	}
	if string(config) != before {
		t.Errorf("now %s", config)
	}
}

func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"hooks":{"createRuntime":[{"path":"/a"}]},"x":[1,2]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		got, err := Edit(config, entry)
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("made %q of %q", got, config)
		}
		again, err := Edit(got, entry)
		if err != nil || string(again) != string(got) {
			t.Fatalf("edited twice: %q, %v", again, err)
		}
	})
}

package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// wantError checks that err contains every part, and that it is a sentence that can be displayed.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("error %q does not say %q", text, part)
		}
	}
	wantPresentable(t, text)
}

func wantPresentable(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }) {
		t.Errorf("error %q has control characters", text)
	}
	if len(text) > 2000 {
		t.Errorf("error has %d bytes", len(text))
	}
}

func TestParseConfigDefaults(t *testing.T) {
	config, err := ParseConfig([]byte("version = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(config, DefaultConfig()) {
		t.Errorf("got %+v, want the defaults %+v", config, DefaultConfig())
	}
	if err := DefaultConfig().check(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

// The example claims that it changes nothing.
func TestExampleIsTheDefault(t *testing.T) {
	example := readExample(t)
	config, err := ParseConfig(example)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(config, DefaultConfig()) {
		t.Errorf("got %+v, want the defaults %+v", config, DefaultConfig())
	}
}

// The commented-out examples must work, and must show every key.
func TestExampleWithItsExamples(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([^ \n])`).ReplaceAllString(string(readExample(t)), "$1")
	config, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Floors) != 2 || len(config.Profiles) != 2 {
		t.Errorf("got %d floors and %d profiles, want 2 and 2", len(config.Floors), len(config.Profiles))
	}
	for _, section := range []any{Config{}, Paths{}, StoreLimits{}, Runc{}, Floor{}, Profile{}, Rules{}, Rule{}} {
		for _, key := range tomlKeys(section) {
			if !regexp.MustCompile(`(?m)^#? ?\[*(profiles\.[a-z-]+\.)?` + key + `\b`).MatchString(text) {
				t.Errorf("the example does not show %q", key)
			}
		}
	}
	for _, rule := range []string{ProfileBaseline, ProfileStrict} {
		profile, _ := builtin(rule)
		for _, line := range profile.each() {
			column := map[string]string{ProfileBaseline: `\s+`, ProfileStrict: `\s+\w+\s+`}[rule]
			if !regexp.MustCompile(`(?m)^# ` + line.name + column + string(*line.action) + `\b`).MatchString(text) {
				t.Errorf("the example's table is wrong about %s in %s", line.name, rule)
			}
		}
	}
}

func readExample(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func tomlKeys(section any) []string {
	var keys []string
	for field := range reflect.TypeOf(section).Fields() {
		if key := field.Tag.Get("toml"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// knownKeys is written by hand; nothing else keeps it complete.
func TestKnownKeysAreAll(t *testing.T) {
	for section, of := range map[string][]any{
		"paths": {Paths{}}, "store": {StoreLimits{}}, "floor": {Floor{}}, "profiles": {Profile{}, Rules{}},
	} {
		said := knownKeys([]string{section, "x"})
		for _, one := range of {
			for _, key := range tomlKeys(one) {
				if !strings.Contains(said, key) {
					t.Errorf("of [%s], %q is not told", section, key)
				}
			}
		}
	}
	for _, key := range tomlKeys(Config{}) {
		if !strings.Contains(knownKeys([]string{"x"}), key) {
			t.Errorf("at the top, %q is not told", key)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	const v = "version = 1\n"
	for name, test := range map[string]struct {
		config string
		parts  []string
	}{
		"empty":                {"", []string{"version = 0", "write version = 1"}},
		"version":              {"version = 2", []string{"version = 2", "write version = 1"}},
		"no TOML":              {"version: 1", []string{"config line 1"}},
		"binary":               {"\x7fELF\x00\x01", []string{"config line 1"}},
		"duplicate key":        {v + "version = 1", []string{"config line 2"}},
		"wrong type":           {v + "default_mode = 3", []string{"config line 2", "default_mode"}},
		"number too big":       {v + "[store]\nnode_mib = 99999999999999999999", []string{"config line 3"}},
		"unknown key":          {v + "default_mdoe = \"audit\"", []string{"config line 2", `"default_mdoe"`, "default_mode"}},
		"unknown section":      {v + "[profile.x]\nextends = \"strict\"", []string{"config line", "[profiles.NAME]"}},
		"unknown floor key":    {v + "[[floor]]\nnamespace = [\"a\"]\nmode = \"audit\"", []string{"config line 3", `"floor.namespace"`, "namespaces"}},
		"unknown rule":         {v + "[profiles.x]\nextends = \"strict\"\nsibling = \"refuse\"", []string{"config line 4", "same_container"}},
		"unknown store key":    {v + "[store]\nmax = 3", []string{"node_mib"}},
		"unknown path":         {v + "[paths]\nlogs = \"/l\"", []string{"run, bpf and log"}},
		"mode":                 {v + `default_mode = "Enforce"`, []string{"default_mode", `"Enforce"`, `"enforce"`}},
		"empty mode":           {v + `default_mode = ""`, []string{"default_mode", `""`, `"audit"`}},
		"without_lsm":          {v + `without_lsm = "ignore"`, []string{"without_lsm", `"ignore"`, `"kill", "refuse" or "audit"`}},
		"default profile":      {v + `default_profile = "stirct"`, []string{"default_profile", `"stirct"`, `"baseline", "strict"`}},
		"relative path":        {v + "[paths]\nlog = \"log\"", []string{"paths.log", "absolute", `"/usr/bin/log"`}},
		"unclean path":         {v + "[paths]\nlog = \"/var/log/../x\"", []string{"paths.log", `write it as "/var/x"`}},
		"root path":            {v + "[paths]\nlog = \"/\"", []string{"paths.log", "below the root"}},
		"NUL in path":          {v + "[paths]\nlog = \"/a\\u0000b\"", []string{"paths.log", "printable"}},
		"escape in path":       {v + "[paths]\nlog = \"/a\\u001b[2Jb\"", []string{"paths.log", "printable"}},
		"overlapping paths":    {v + "[paths]\nlog = \"/run/shimward/log\"", []string{"paths.log", "overlaps paths.run"}},
		"equal paths":          {v + "[paths]\nlog = \"/run/shimward\"", []string{"paths.log", "overlaps paths.run"}},
		"long run":             {v + "[paths]\nrun = \"/" + strings.Repeat("r", 60) + "\"", []string{"paths.run", "at most 54"}},
		"store zero":           {v + "[store]\nended_containers = 0", []string{"store.ended_containers = 0", "1 to"}},
		"store negative":       {v + "[store]\nnode_mib = -4", []string{"store.node_mib = -4"}},
		"store too big":        {v + "[store]\nnode_mib = 9223372036854775807", []string{"store.node_mib"}},
		"store upside down":    {v + "[store]\nnode_mib = 4", []string{"store.node_mib = 4", "store.container_mib = 16"}},
		"built-in profile":     {v + "[profiles.strict]\nchild = \"observe\"", []string{"profiles.strict", "built in", "another name"}},
		"profile's name":       {v + "[profiles.\"My Profile\"]\nextends = \"strict\"", []string{`profiles."My Profile"`, "lower-case"}},
		"profile's action":     {v + "[profiles.x]\nextends = \"strict\"\nhost = \"deny\"", []string{"profiles.x", "host", `"deny"`, `"refuse"`}},
		"profile's rest":       {v + "[profiles.x]\nhost = \"refuse\"", []string{"profiles.x", "self_mem_write is missing", "extends"}},
		"extends nothing":      {v + "[profiles.x]\nextends = \"y\"", []string{"profiles.x", "extends", `"y"`, `"baseline"`}},
		"extends itself":       {v + "[profiles.x]\nextends = \"x\"", []string{"profiles.x", "circle"}},
		"extends in a circle":  {v + "[profiles.x]\nextends = \"y\"\n[profiles.y]\nextends = \"x\"", []string{"profiles.x", "circle"}},
		"relative exception":   {v + "[profiles.x]\nextends = \"strict\"\nallow = [\"gdb\"]", []string{"profiles.x", "allow", `"/usr/bin/gdb"`}},
		"exception pattern":    {v + "[profiles.x]\nextends = \"strict\"\nallow_pod = [\"/usr/bin/*\"]", []string{"allow_pod", "patterns"}},
		"exception in proc":    {v + "[profiles.x]\nextends = \"strict\"\nallow = [\"/proc/self/exe\"]", []string{"names a process"}},
		"floor for nobody":     {v + "[[floor]]\nmode = \"audit\"", []string{"floor number 1", `namespaces = ["*"]`}},
		"floor's pattern":      {v + "[[floor]]\nnamespaces = [\"prod-[\"]\nmode = \"audit\"", []string{"floor number 1", `"prod-["`, `"prod-*"`}},
		"floor's empty name":   {v + "[[floor]]\nnamespaces = [\"\"]\nmode = \"audit\"", []string{"floor number 1", `""`}},
		"floor with no mode":   {v + "[[floor]]\nnamespaces = [\"*\"]", []string{"floor number 1", "mode"}},
		"floor off":            {v + "[[floor]]\nnamespaces = [\"*\"]\nmode = \"off\"", []string{"floor number 1", `"off"`, `"audit" or "enforce"`}},
		"floor's profile":      {v + "[[floor]]\nnamespaces = [\"*\"]\nmode = \"audit\"\nprofile = \"x\"", []string{"floor number 1", "profile", `"x"`}},
		"exceptions from none": {v + "[[floor]]\nnamespaces = [\"*\"]\nmode = \"audit\"\nexceptions = true", []string{"exceptions", "profile"}},
		"floor as a table":     {v + "[floor]\nnamespaces = [\"*\"]", []string{"floor number 1", "mode"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig([]byte(test.config))
			wantError(t, err, test.parts...)
		})
	}
}

func TestParseConfigIsBounded(t *testing.T) {
	_, err := ParseConfig(append([]byte("version = 1\n#"), make([]byte, MaxConfigBytes)...))
	wantError(t, err, "keep it under")

	var many strings.Builder
	many.WriteString("version = 1\n")
	for range maxFloors + 1 {
		many.WriteString("[[floor]]\nnamespaces = [\"a\"]\nmode = \"audit\"\n")
	}
	_, err = ParseConfig([]byte(many.String()))
	wantError(t, err, "floor", "keep at most")
}

func TestProfileExtends(t *testing.T) {
	config, err := ParseConfig([]byte(`version = 1
[profiles.a]
extends = "strict"
child = "observe"
allow = ["/usr/bin/gdb", "/bin/a"]
[profiles.b]
extends = "a"
inbound = "observe"
allow = ["/usr/bin/gdb", "/bin/b"]
allow_pod = ["/bin/c"]
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Profile("b")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := builtin(ProfileStrict)
	want.Extends, want.Child, want.Inbound = "a", ActionObserve, ActionObserve
	want.Allow, want.AllowPod = []string{"/bin/a", "/bin/b", "/usr/bin/gdb"}, []string{"/bin/c"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestProfileExtendsSoDeep(t *testing.T) {
	chain := func(length int) []byte {
		text := "version = 1\n[profiles.p0]\nextends = \"strict\"\n"
		for i := 1; i < length; i++ {
			text += fmt.Sprintf("[profiles.p%d]\nextends = \"p%d\"\n", i, i-1)
		}
		return []byte(text)
	}
	if _, err := ParseConfig(chain(maxExtends)); err != nil {
		t.Error(err)
	}
	_, err := ParseConfig(chain(maxExtends + 1))
	wantError(t, err, "more than 8 deep")
}

func FuzzParseConfig(f *testing.F) {
	if example, err := os.ReadFile("../config.toml.example"); err == nil {
		f.Add(example)
		f.Add(regexp.MustCompile(`(?m)^#([^ \n])`).ReplaceAll(example, []byte("$1")))
	}
	f.Add([]byte("version = 1\n[profiles.x]\nextends = \"x\"\n"))
	f.Add([]byte(ruled))
	f.Add([]byte("version = 1\n[[floor]]\nnamespaces = [\"n\"]\nmode = \"enforce\"\nprofile = \"strict\"\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		config, err := ParseConfig(content)
		if err != nil {
			wantPresentable(t, err.Error())
			return
		}
		if _, err := config.Profile(config.DefaultProfile); err != nil {
			t.Errorf("a config was taken whose default profile is not there: %v", err)
		}
		plan, err := config.Plan(Facts{ID: "c", Namespace: "n", Bundle: "/b"})
		if err != nil {
			wantPresentable(t, err.Error())
			return
		}
		for _, rule := range plan.Rules.each() {
			if rule.check() != nil {
				t.Errorf("a config was taken that leaves %s = %q", rule.name, *rule.action)
			}
		}
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePlan(text); err != nil {
			t.Errorf("a config was taken whose plan cannot be read again: %v", err)
		}
	})
}

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
)

const testConfig = `version = 1
[profiles.loose]
extends = "baseline"
same_pod = "observe"
[profiles.debug]
extends = "strict"
allow = ["/usr/bin/gdb"]
[[floor]]
namespaces = ["prod-*"]
mode = "enforce"
[[floor]]
namespaces = ["watched"]
mode = "audit"
[[floor]]
namespaces = ["vault"]
mode = "enforce"
profile = "strict"
[[floor]]
namespaces = ["vault-debug"]
mode = "enforce"
profile = "debug"
[[floor]]
namespaces = ["lab"]
mode = "audit"
profile = "strict"
exceptions = true
`

func mustParse(tb testing.TB, text string) *Config {
	tb.Helper()
	config, err := ParseConfig([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return config
}

func facts(namespace string, annotations map[string]string) Facts {
	all := map[string]string{
		criContainerType: "container", criContainerName: "app", criImageName: "docker.io/library/nginx:1",
		criSandboxID: "5a", criSandboxName: "web-0", criSandboxNS: namespace, criSandboxUID: "0-1-2",
		"unrelated.example/mode": "\x00",
	}
	maps.Copy(all, annotations)
	return Facts{ID: "abc", Namespace: "k8s.io", Bundle: "/run/b/abc", Annotations: all}
}

func TestPlan(t *testing.T) {
	config := mustParse(t, testConfig)
	type m = map[string]string
	for name, test := range map[string]struct {
		namespace   string
		annotations m
		mode        Mode
		profile     string
		allow       string
		allowPod    string
	}{
		"nothing asked":               {"dev", nil, ModeAudit, "baseline", "", ""},
		"mode":                        {"dev", m{"shimward.dev/mode": "enforce"}, ModeEnforce, "baseline", "", ""},
		"off":                         {"dev", m{"shimward.dev/mode": "off"}, ModeOff, "baseline", "", ""},
		"profile":                     {"dev", m{"shimward.dev/profile": "strict"}, ModeAudit, "strict", "", ""},
		"own suffix wins":             {"dev", m{"shimward.dev/mode": "off", "shimward.dev/mode.app": "enforce"}, ModeEnforce, "baseline", "", ""},
		"another's suffix":            {"dev", m{"shimward.dev/mode": "off", "shimward.dev/mode.sidecar": "enforce"}, ModeOff, "baseline", "", ""},
		"exceptions":                  {"dev", m{"shimward.dev/allow": "/usr/bin/gdb, /bin/a,\n/bin/a", "shimward.dev/allow-pod": "/bin/b"}, ModeAudit, "baseline", "/bin/a /usr/bin/gdb", "/bin/b"},
		"exceptions beside a profile": {"dev", m{"shimward.dev/profile": "debug", "shimward.dev/allow": "/bin/a"}, ModeAudit, "debug", "/bin/a /usr/bin/gdb", ""},
		"lifted to the floor":         {"prod-eu", nil, ModeEnforce, "baseline", "", ""},
		"at the floor":                {"prod-eu", m{"shimward.dev/mode": "enforce"}, ModeEnforce, "baseline", "", ""},
		"above the floor":             {"watched", m{"shimward.dev/mode": "enforce"}, ModeEnforce, "baseline", "", ""},
		"floor without a profile":     {"prod-eu", m{"shimward.dev/profile": "loose", "shimward.dev/allow-pod": "/bin/b"}, ModeEnforce, "loose", "", "/bin/b"},
		"lifted to a profile":         {"vault", nil, ModeEnforce, "strict", "", ""},
		"floor's own exceptions":      {"vault-debug", nil, ModeEnforce, "debug", "/usr/bin/gdb", ""},
		"stricter than the floor":     {"vault-debug", m{"shimward.dev/profile": "strict"}, ModeEnforce, "strict", "", ""},
		"the same exception":          {"vault-debug", m{"shimward.dev/profile": "strict", "shimward.dev/allow": "/usr/bin/gdb"}, ModeEnforce, "strict", "/usr/bin/gdb", ""},
		"floor that takes exceptions": {"lab", m{"shimward.dev/allow": "/bin/a"}, ModeAudit, "strict", "/bin/a", ""},
		"a pattern is not a prefix":   {"myprod-eu", nil, ModeAudit, "baseline", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := config.Plan(facts(test.namespace, test.annotations))
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(plan.Mode, plan.Profile, strings.Join(plan.Allow, " "), strings.Join(plan.AllowPod, " "))
			want := fmt.Sprint(test.mode, test.profile, test.allow, test.allowPod)
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	config := mustParse(t, testConfig)
	type m = map[string]string
	long := strings.Repeat("/bin/x,", maxExceptions) + "/bin/y"
	for name, test := range map[string]struct {
		namespace   string
		annotations m
		parts       []string
	}{
		"unknown key":           {"dev", m{"shimward.dev/mdoe": "enforce"}, []string{`"shimward.dev/mdoe"`, "mode, profile, allow or allow-pod"}},
		"empty key":             {"dev", m{"shimward.dev/": "enforce"}, []string{`"shimward.dev/"`, "unknown key"}},
		"prefix alone":          {"dev", m{"shimward.dev": "enforce"}, []string{`"shimward.dev"`, "write the prefix as shimward.dev/"}},
		"prefix in capitals":    {"dev", m{"ShimWard.dev/mode": "enforce"}, []string{`"ShimWard.dev/mode"`, "write the prefix"}},
		"key in capitals":       {"dev", m{"shimward.dev/Mode": "enforce"}, []string{`"shimward.dev/Mode"`}},
		"key with an escape":    {"dev", m{"shimward.dev/\x1b[2J\n": "enforce"}, []string{`\x1b`}},
		"empty suffix":          {"dev", m{"shimward.dev/mode.": "enforce"}, []string{`"shimward.dev/mode."`, "shimward.dev/mode.NAME"}},
		"suffix is no name":     {"dev", m{"shimward.dev/mode.a.b": "enforce"}, []string{`"a.b"`}},
		"mode":                  {"dev", m{"shimward.dev/mode": "block"}, []string{"shimward.dev/mode", `"block"`, `"off", "audit" or "enforce"`}},
		"mode with a space":     {"dev", m{"shimward.dev/mode": "enforce "}, []string{`"enforce "`}},
		"empty mode":            {"dev", m{"shimward.dev/mode": ""}, []string{`""`, `"enforce"`}},
		"another's mode":        {"dev", m{"shimward.dev/mode.sidecar": "block"}, []string{"shimward.dev/mode.sidecar", `"block"`}},
		"pod's, though own":     {"dev", m{"shimward.dev/mode": "block", "shimward.dev/mode.app": "audit"}, []string{"shimward.dev/mode", `"block"`}},
		"missing profile":       {"dev", m{"shimward.dev/profile": "nope"}, []string{"shimward.dev/profile", `"nope"`, `"baseline", "debug", "loose", "strict"`}},
		"profile is no name":    {"dev", m{"shimward.dev/profile": "../../etc"}, []string{`"../../etc"`, `"strict"`}},
		"profile, though off":   {"dev", m{"shimward.dev/profile": "nope", "shimward.dev/mode": "off"}, []string{`"nope"`}},
		"relative exception":    {"dev", m{"shimward.dev/allow": "gdb"}, []string{"shimward.dev/allow", `"gdb"`, `"/usr/bin/gdb"`}},
		"unclean exception":     {"dev", m{"shimward.dev/allow": "/usr/bin/../bin/gdb"}, []string{`write it as "/usr/bin/gdb"`}},
		"folder":                {"dev", m{"shimward.dev/allow": "/usr/bin/"}, []string{`write it as "/usr/bin"`}},
		"pattern":               {"dev", m{"shimward.dev/allow": "/usr/bin/*"}, []string{"patterns"}},
		"empty exception":       {"dev", m{"shimward.dev/allow": ""}, []string{"separated by commas"}},
		"trailing comma":        {"dev", m{"shimward.dev/allow-pod": "/bin/a,"}, []string{"shimward.dev/allow-pod", "separated by commas"}},
		"separated by spaces":   {"dev", m{"shimward.dev/allow": "/bin/a\n/bin/b"}, []string{`"/bin/a\n/bin/b"`}},
		"NUL":                   {"dev", m{"shimward.dev/allow": "/bin/a\x00b"}, []string{"printable"}},
		"invalid UTF-8":         {"dev", m{"shimward.dev/allow": "/bin/\xff"}, []string{"printable"}},
		"text turned around":    {"dev", m{"shimward.dev/allow": "/bin/\u202ebdg"}, []string{"printable"}},
		"too long a path":       {"dev", m{"shimward.dev/allow": "/" + strings.Repeat("a", maxPath)}, []string{"4096 bytes"}},
		"too many exceptions":   {"dev", m{"shimward.dev/allow": long}, []string{"33 executables", "at most 32"}},
		"too many with profile": {"dev", m{"shimward.dev/profile": "debug", "shimward.dev/allow": manyPaths(maxExceptions)}, []string{"shimward.dev/allow", "profile's own", "33"}},
		"value too long":        {"dev", m{"shimward.dev/mode": strings.Repeat("x", 1<<20)}, []string{"1048576 bytes"}},
		"respond":               {"dev", m{"shimward.dev/respond": "kill"}, []string{"shimward.dev/respond", "remove the annotation", `shimward.dev/mode = "enforce"`}},
		"another's respond":     {"dev", m{"shimward.dev/respond.sidecar": "kill"}, []string{"shimward.dev/respond.sidecar"}},
		"off below enforce":     {"prod-eu", m{"shimward.dev/mode": "off"}, []string{"shimward.dev/mode", `"off"`, `"prod-eu"`, `"prod-*"`, `write "enforce"`}},
		"audit below enforce":   {"prod-eu", m{"shimward.dev/mode.app": "audit"}, []string{"shimward.dev/mode.app", `write "enforce"`}},
		"off below audit":       {"watched", m{"shimward.dev/mode": "off"}, []string{`write "audit"`}},
		"weaker profile":        {"vault", m{"shimward.dev/profile": "baseline"}, []string{"shimward.dev/profile", "self_mem_write", `write "strict"`}},
		"profile's exceptions":  {"vault", m{"shimward.dev/profile": "debug"}, []string{"shimward.dev/profile", "allow is weaker", `write "strict"`}},
		"exception below":       {"vault", m{"shimward.dev/allow": "/bin/a"}, []string{"shimward.dev/allow", "no exceptions", "remove the annotation"}},
		"pod exception below":   {"vault", m{"shimward.dev/allow-pod.app": "/bin/a"}, []string{"shimward.dev/allow-pod.app", "no exceptions"}},
		"namespace with slash":  {"prod-eu/x", nil, []string{`"prod-eu/x"`, "slash"}},
		"namespace with escape": {"prod-eu\x1b", nil, []string{"printable"}},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := config.Plan(facts(test.namespace, test.annotations))
			if plan != nil {
				t.Errorf("got a plan: %+v", plan)
			}
			wantError(t, err, test.parts...)
		})
	}
}

func manyPaths(n int) string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("/bin/%d", i)
	}
	return strings.Join(paths, ",")
}

func TestPlanRefusesFacts(t *testing.T) {
	for name, test := range map[string]struct {
		facts Facts
		parts []string
	}{
		"no ID":           {Facts{Namespace: "n", Bundle: "/b"}, []string{"no ID"}},
		"relative bundle": {Facts{ID: "c", Namespace: "n", Bundle: "b"}, []string{"bundle", `"b"`, "absolute"}},
		"ID with newline": {Facts{ID: "c\nd", Namespace: "n", Bundle: "/b"}, []string{"container ID", `"c\nd"`}},
		"long ID":         {Facts{ID: strings.Repeat("c", 1000), Namespace: "n", Bundle: "/b"}, []string{"container ID", "at most"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DefaultConfig().Plan(test.facts)
			wantError(t, err, test.parts...)
		})
	}
	many := map[string]string{}
	for i := range maxAnnotations + 1 {
		many[fmt.Sprintf("shimward.dev/mode.c%d", i)] = "audit"
	}
	_, err := DefaultConfig().Plan(facts("dev", many))
	wantError(t, err, "257 annotations", "at most 256")
}

// Floors that no single profile meets are for the administrator to fix, and the message says so.
func TestFloorsThatContradict(t *testing.T) {
	config := mustParse(t, `version = 1
[profiles.a]
extends = "baseline"
child = "refuse"
[profiles.b]
extends = "baseline"
inbound = "refuse"
[[floor]]
namespaces = ["*"]
mode = "audit"
profile = "a"
[[floor]]
namespaces = ["x"]
mode = "audit"
profile = "b"
`)
	_, err := config.Plan(facts("x", nil))
	wantError(t, err, "administrator", "child")
	plan, err := config.Plan(facts("x", map[string]string{"shimward.dev/profile": "strict"}))
	if err != nil || plan.Profile != "strict" {
		t.Errorf("got %v, %v", plan, err)
	}
	plan, err = config.Plan(facts("y", nil))
	if err != nil || plan.Profile != "a" {
		t.Errorf("got %v, %v", plan, err)
	}
}

// Outside Kubernetes, floors are matched against containerd's namespace.
func TestFloorOutsideKubernetes(t *testing.T) {
	config := mustParse(t, testConfig)
	plan, err := config.Plan(Facts{ID: "c", Namespace: "prod-x", Bundle: "/b"})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Mode != ModeEnforce {
		t.Errorf("got mode %s", plan.Mode)
	}
}

func TestSandboxHasNoExceptions(t *testing.T) {
	asked := facts("dev", map[string]string{
		criContainerType: criTypeSandbox, criContainerName: "", criSandboxID: "",
		"shimward.dev/allow": "/usr/bin/gdb", "shimward.dev/mode": "enforce",
	})
	plan, err := DefaultConfig().Plan(asked)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Allow != nil || plan.Mode != ModeEnforce || plan.Identity.Sandbox != "abc" {
		t.Errorf("got %+v", plan)
	}
}

func TestStoredPlan(t *testing.T) {
	plan, err := mustParse(t, testConfig).Plan(facts("vault-debug", nil))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, plan) {
		t.Errorf("got %+v, want %+v", got, plan)
	}
	for name, test := range map[string]struct{ from, to, part string }{
		"edited mode":      {`"enforce"`, `"audit"`, "digest"},
		"unknown mode":     {`"enforce"`, `"x"`, "mode"},
		"edited rule":      {`"host":"refuse"`, `"host":"observe"`, "digest"},
		"missing rule":     {`"host":"refuse",`, ``, "rules.host"},
		"edited ID":        {`"id":"abc"`, `"id":"abd"`, "key"},
		"edited exception": {`/usr/bin/gdb`, `/usr/bin/sh`, "digest"},
		"relative":         {`"/usr/bin/gdb"`, `"gdb"`, "absolute"},
		"unknown field":    {`"mode"`, `"modes"`, "unknown field"},
		"trailing":         {`}`, `}}`, "plan"},
		"cut":              {`"digest"`, ``, "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(text), test.from, test.to, 1)
			if name == "trailing" {
				changed = string(text) + "{}"
			}
			_, err := ParsePlan([]byte(changed))
			wantError(t, err, test.part)
		})
	}
}

// The digest identifies a policy, not a container: it changes only with what decides accesses.
func TestDigest(t *testing.T) {
	config := mustParse(t, testConfig)
	digest := func(id string, annotations map[string]string) string {
		asked := facts("dev", annotations)
		asked.ID = id
		plan, err := config.Plan(asked)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	type m = map[string]string
	base := digest("a", m{"shimward.dev/allow": "/a,/b"})
	if len(base) != 64 {
		t.Errorf("digest %q", base)
	}
	if base != digest("b", m{"shimward.dev/allow.app": "/b, /a, /b"}) {
		t.Error("the same policy has two digests")
	}
	for _, other := range []m{nil, {"shimward.dev/allow": "/a"}, {"shimward.dev/allow-pod": "/a,/b"}, {"shimward.dev/mode": "off"}} {
		if base == digest("a", other) {
			t.Errorf("%v has the same digest", other)
		}
	}
}

func FuzzAnnotations(f *testing.F) {
	f.Add("shimward.dev/mode", "enforce", "shimward.dev/allow.app", "/usr/bin/gdb, /bin/sh")
	f.Add("shimward.dev/profile", "strict", "shimward.dev/respond", "kill")
	f.Add("shimward.dev/mode.app", "off", "Shimward.dev/mode", "audit")
	f.Add("shimward.dev", "\x00", "shimward.dev/allow-pod.", "/a,,")
	config := mustParse(f, testConfig)
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		for _, namespace := range []string{"dev", "vault"} {
			plan, err := config.Plan(facts(namespace, map[string]string{key1: value1, key2: value2}))
			if err != nil {
				wantPresentable(t, err.Error())
				continue
			}
			if err := plan.check(); err != nil {
				t.Errorf("a plan that could not be stored: %v", err)
			}
			if plan.Identity.PodNamespace == "vault" && (plan.Mode != ModeEnforce || plan.Rules.Host != ActionRefuse || len(plan.Allow) > 0) {
				t.Errorf("below the floor: %+v", plan)
			}
		}
	})
}

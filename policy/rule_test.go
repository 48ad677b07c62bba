package policy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
)

const ruled = `version = 1
[profiles.web]
extends = "parent"
[[profiles.web.rule]]
name = "gdb-reads"
action = "observe"
operations = ["read", "attach"]
relations = ["same-container", "host"]
executables = ["/usr/bin/gdb"]
uids = [0, 1000]
[[profiles.web.rule]]
name = "agent"
action = "refuse"
target_executables = ["/usr/bin/agent"]
[profiles.parent]
extends = "baseline"
[[profiles.parent.rule]]
name = "nobody-writes"
action = "refuse"
operations = ["write"]
[[profiles.parent.rule]]
name = "madvise"
action = "observe"
vectors = ["process_madvise", "kcmp"]
`

// ruledPlan returns a plan with the profile web.
func ruledPlan(t *testing.T, config string) *Plan {
	t.Helper()
	parsed, err := ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	parsed.DefaultMode, parsed.DefaultProfile = ModeEnforce, "web"
	plan, err := parsed.Plan(Facts{ID: "c", Namespace: "n", Bundle: "/b"})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestRuleDecides(t *testing.T) {
	plan := ruledPlan(t, ruled)
	files := plan.RuleFiles()
	gdb, agent := files["/usr/bin/gdb"], files["/usr/bin/agent"]
	if gdb != (Fits{Actor: 1}) || agent != (Fits{Target: 2}) {
		t.Fatalf("the rules' executables are %+v", files)
	}
	read := func(relation access.Relation) Deed {
		return Deed{Vector: access.VectorProcMem, Operation: access.OperationRead, Relation: relation}
	}
	write := Deed{Vector: access.VectorProcMem, Operation: access.OperationWrite, Relation: access.RelationChild}
	inbound := read(access.RelationOtherContainer)
	inbound.Inbound = true
	for name, test := range map[string]struct {
		deed    Deed
		parties Parties
		rule    string
		action  Action
	}{
		"all conditions fit":           {read(access.RelationHost), Parties{UID: 1000, Actor: gdb.Actor}, "web.gdb-reads", ActionObserve},
		"another user":                 {read(access.RelationHost), Parties{UID: 1, Actor: gdb.Actor}, "web.host", ActionRefuse},
		"another executable":           {read(access.RelationHost), Parties{}, "web.host", ActionRefuse},
		"another relation":             {read(access.RelationSamePod), Parties{Actor: gdb.Actor}, "web.same_pod", ActionRefuse},
		"another operation":            {write, Parties{Actor: gdb.Actor}, "web.nobody-writes", ActionRefuse},
		"the target":                   {read(access.RelationSameContainer), Parties{Target: agent.Target}, "web.agent", ActionRefuse},
		"in their order":               {read(access.RelationSameContainer), Parties{Actor: gdb.Actor, Target: agent.Target}, "web.gdb-reads", ActionObserve},
		"a target outside":             {read(access.RelationOtherContainer), Parties{Target: agent.Target}, "web.other_container", ActionRefuse},
		"an actor that cannot be told": {read(access.RelationHost), Parties{Actor: gdb.Actor, ActorUnknown: true}, "web.host", ActionRefuse},
		"a target that may be another": {read(access.RelationSameContainer), Parties{TargetUnknown: true}, "web.agent", ActionRefuse},
		"by vector":                    {Deed{Vector: access.VectorKcmp, Operation: access.OperationInspect, Relation: access.RelationHost}, Parties{}, "web.madvise", ActionObserve},
		"inbound":                      {inbound, Parties{Actor: gdb.Actor}, "web.inbound", ActionObserve},
	} {
		t.Run(name, func(t *testing.T) {
			test.deed.Rule = plan.First(test.deed, test.parties)
			got := plan.Decide(test.deed, access.TierLSM)
			if got.Rule != test.rule || got.Action != test.action || (got.Verdict == access.VerdictRefused) != (test.action == ActionRefuse) {
				t.Errorf("decided %+v, want %s to say %s", got, test.rule, test.action)
			}
		})
	}
	own := Deed{Vector: access.VectorProcessVMReadv, Operation: access.OperationWrite, Relation: access.RelationSelf}
	own.Rule = plan.First(own, Parties{})
	if got := plan.Decide(own, access.TierLSM); !got.Quiet {
		t.Errorf("a process and its own memory: %+v", got)
	}
	// A rule number in a record cannot be trusted.
	for _, number := range []int{-1, 5, 1 << 30} {
		deed := read(access.RelationHost)
		deed.Rule = number
		if got := plan.Decide(deed, access.TierLSM); got.Rule != "web.host" {
			t.Errorf("rule %d of 4 decided %+v", number, got)
		}
	}
}

func TestRuleExplained(t *testing.T) {
	plan := ruledPlan(t, ruled)
	q := Question{Vector: access.VectorProcMem, Relation: access.RelationHost, Executable: "/usr/bin/gdb", Tier: access.TierLSM}
	e, err := plan.Explain(q)
	if err != nil || e.Rule != "web.gdb-reads" || e.Verdict != access.VerdictObserved || !strings.Contains(strings.Join(e.Why, " "), "first of the profile") {
		t.Errorf("%v: %+v", err, e)
	}
	q.UID = 7
	if e, err = plan.Explain(q); err != nil || e.Rule != "web.host" {
		t.Errorf("%v: %+v", err, e)
	}
}

func TestRuleIsStored(t *testing.T) {
	plan := ruledPlan(t, ruled)
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParsePlan(text)
	if err != nil || !reflect.DeepEqual(again, plan) {
		t.Errorf("%v: stored %+v, read %+v", err, plan, again)
	}
	other := ruledPlan(t, strings.Replace(ruled, "uids = [0, 1000]", "uids = [0]", 1))
	if other.Digest == plan.Digest {
		t.Error("another rule, and the same digest")
	}
}

func TestRuleIsRefused(t *testing.T) {
	head := "version = 1\n[profiles.p]\nextends = \"baseline\"\n[[profiles.p.rule]]\n"
	named := head + "name = \"r\"\naction = \"refuse\"\n"
	for name, test := range map[string]struct {
		config string
		want   []string
	}{
		"no name":              {head + `action = "refuse"`, []string{"rule number 1", "name"}},
		"the table's name":     {head + "name = \"child\"\naction = \"refuse\"\nuids = [1]", []string{"child", "another name"}},
		"an exception's name":  {head + "name = \"lease\"\naction = \"refuse\"\nuids = [1]", []string{"lease", "another name"}},
		"two of a name":        {named + "uids = [1]\n[[profiles.p.rule]]\nname = \"r\"\naction = \"refuse\"\nuids = [2]", []string{"two of that name"}},
		"no action":            {head + "name = \"r\"\nuids = [1]", []string{"action", `"observe"`, `"refuse"`}},
		"recon's action":       {head + "name = \"r\"\naction = \"audit\"\nuids = [1]", []string{"audit", `"observe"`}},
		"no condition":         {named, []string{"no condition", "vectors"}},
		"no such vector":       {named + `vectors = ["door"]`, []string{"door", "proc_mem"}},
		"no such operation":    {named + `operations = [""]`, []string{"operation"}},
		"recon that is off":    {named + `vectors = ["recon"]`, []string{"recon", `"audit"`}},
		"oneself otherwise":    {named + "vectors = [\"ptrace\"]\nrelations = [\"self\"]", []string{"self_mem"}},
		"a negative user":      {named + "uids = [-1]", []string{"uids"}},
		"too many users":       {named + "uids = [1,2,3,4,5,6,7,8,9]", []string{"uids", "8"}},
		"a relative path":      {named + `executables = ["gdb"]`, []string{"executables", "absolute"}},
		"a target elsewhere":   {named + "target_executables = [\"/a\"]\nrelations = [\"host\"]", []string{"target_executables", "same-container"}},
		"an unknown condition": {named + `exe = "/a"`, []string{"unknown key", "target_executables"}},
		"too many":             {named + "uids = [1]\n" + strings.Repeat("[[profiles.p.rule]]\nname = \"r\"\naction = \"refuse\"\nuids = [1]\n", 16), []string{"17", "16"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig([]byte(test.config))
			wantError(t, err, test.want...)
		})
	}
}

// A floor's profile is the minimum, including its rules.
func TestRuleUnderFloor(t *testing.T) {
	floor := ruled + "[[floor]]\nnamespaces = [\"*\"]\nmode = \"audit\"\nprofile = \"parent\"\n"
	refusing := "[[profiles.web2.rule]]\nname = \"more\"\naction = \"refuse\"\nuids = [1]\n"
	madvise := "[[profiles.web2.rule]]\nname = \"madvise\"\naction = \"observe\"\nvectors = [\"process_madvise\", \"kcmp\"]\n"
	writes := "[[profiles.web2.rule]]\nname = \"nobody-writes\"\naction = \"refuse\"\noperations = [\"write\"]\n"
	for name, test := range map[string]struct{ profile, weaker string }{
		"itself":                 {"[profiles.web2]\nextends = \"parent\"\n", ""},
		"stricter":               {"[profiles.web2]\nextends = \"parent\"\n" + refusing, ""},
		"one that observes":      {"[profiles.web2]\nextends = \"parent\"\n" + strings.Replace(refusing, "refuse", "observe", 1), "more"},
		"none":                   {"[profiles.web2]\nextends = \"baseline\"\n", "nobody-writes"},
		"the same, written down": {"[profiles.web2]\nextends = \"baseline\"\n" + refusing + writes + madvise, ""},
		"without what observes":  {"[profiles.web2]\nextends = \"baseline\"\n" + writes, ""},
		"in another order":       {"[profiles.web2]\nextends = \"baseline\"\n" + madvise + writes, "nobody-writes"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := ParseConfig([]byte(floor + test.profile))
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Plan(Facts{ID: "c", Namespace: "n", Bundle: "/b", Annotations: map[string]string{AnnotationPrefix + KeyProfile: "web2"}})
			if test.weaker == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.weaker, "below", "floor")
		})
	}
}

package bpf

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
	"github.com/shimward/shimward/policy"
)

// looked returns a plan with the given recon and inbound that refuses everything else.
func looked(key string, mode policy.Mode, recon, inbound policy.Action) *policy.Plan {
	rules := watching(recon)
	rules.Inbound = inbound
	return plan(key, mode, rules)
}

// look is one way to learn something about a victim's memory, with its output if it is not refused.
type look struct {
	name    string
	part    []string
	succeed string
}

func looksAt(doors string, v *victim) []look {
	read, list := strconv.Itoa(unix.O_RDONLY), strconv.Itoa(unix.O_RDONLY|unix.O_DIRECTORY)
	at := func(name string) string { return "/proc/" + v.pid + "/" + name }
	return []look{
		{"environ", []string{"open", at("environ"), read}, "opened"},
		{"a thread's maps", []string{"open", at("task/" + v.pid + "/maps"), read}, "opened"},
		{"map_files", []string{"open", at("map_files"), list}, "opened"},
		{"get_robust_list", []string{"exec", doors, "plain-robust", v.pid, v.address, "1"}, "reached"},
	}
}

// Another container looks at a guarded one: the target's plan decides, and the node's own processes
// are left alone.
func TestLSMReconInbound(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	doors := buildDoors(t)
	for _, test := range []struct {
		name           string
		mode           policy.Mode
		recon, inbound policy.Action
		verdict        access.Verdict // 0: not watched
		flags          Flags
	}{
		{"off, on a node where nobody looks", policy.ModeEnforce, policy.ReconOff, policy.ActionRefuse, 0, 0},
		{"refused", policy.ModeEnforce, policy.ActionRefuse, policy.ActionRefuse, access.VerdictRefused, FlagInboundRule},
		{"would be refused", policy.ModeAudit, policy.ActionRefuse, policy.ActionRefuse, access.VerdictObserved, FlagInboundRule | FlagWouldRefuse},
		{"inbound observes", policy.ModeEnforce, policy.ActionRefuse, policy.ActionObserve, access.VerdictObserved, 0},
		{"recon audits", policy.ModeEnforce, policy.ReconAudit, policy.ActionRefuse, access.VerdictObserved, 0},
		{"off", policy.ModeEnforce, policy.ReconOff, policy.ActionRefuse, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newContainer(t, node, looked("looked-at", test.mode, test.recon, test.inbound))
			v := meet(c.run("victim"))
			w := want{
				vector: access.VectorRecon, operation: access.OperationInspect, relation: access.RelationOtherContainer,
				verdict: test.verdict, sensor: access.SensorLSM, flags: FlagInbound | test.flags, target: v.number(),
			}
			for _, look := range looksAt(doors, v) {
				said, status := start(t, outside(), nil, look.part...).end()
				if (said == look.succeed) == (test.verdict == access.VerdictRefused) {
					t.Errorf("%s: it ended with %v and said %q", look.name, status, said)
				}
				if test.verdict == 0 {
					c.nothing()
				} else if r := c.expect(w); r.Flags&^w.flags != 0 {
					t.Errorf("%s: flags %b, not %b", look.name, r.Flags, w.flags)
				}
			}
			refused := test.verdict == access.VerdictRefused
			if said, _ := start(t, outside(), nil, "exec", "/bin/busybox", "cat", "/proc/"+v.pid+"/stat").end(); tellsAddresses(t, said) == refused {
				t.Errorf("stat says %q", said)
			}
			fromTheNode(t, doors, v)
			if records := c.records(); len(records) > 0 {
				t.Errorf("records of stat, or of the node's: %+v", *records[0])
			}
		})
	}
}

// fromTheNode fails the test if a process of the node may not look at v.
func fromTheNode(t *testing.T, doors string, v *victim) {
	t.Helper()
	for _, look := range looksAt(doors, v) {
		if said, status := start(t, nil, nil, look.part...).end(); said != look.succeed {
			t.Errorf("from the node, %s: it ended with %v and said %q", look.name, status, said)
		}
	}
	if said, _ := start(t, nil, nil, "exec", "/bin/busybox", "cat", "/proc/"+v.pid+"/stat").end(); !tellsAddresses(t, said) {
		t.Errorf("from the node, stat says %q", said)
	}
}

// If both are guarded, each plan applies, and a record is written if either watches.
func TestLSMReconInboundGuarded(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	everything := []policy.Rule{{Name: "inspects", Action: policy.ActionRefuse, Operations: []access.Operation{access.OperationInspect}}}
	for _, test := range []struct {
		name          string
		mine          policy.Action
		rules         []policy.Rule
		theirs        policy.Action
		pod           string
		refused       bool
		flags         Flags
		told, targets bool // there is a record, and it is the target's
	}{
		{name: "the target's refuses", mine: policy.ReconOff, theirs: policy.ActionRefuse, refused: true, flags: FlagInbound | FlagInboundRule, told: true, targets: true},
		{name: "the target's refuses its pod", mine: policy.ReconOff, theirs: policy.ActionRefuse, pod: "a", refused: true, flags: FlagInbound | FlagInboundRule, told: true, targets: true},
		{name: "the target's audits", mine: policy.ReconOff, theirs: policy.ReconAudit, flags: FlagInbound, told: true, targets: true},
		{name: "a rule of one that does not look", mine: policy.ReconOff, rules: everything, theirs: policy.ReconAudit, flags: FlagInbound, told: true, targets: true},
		{name: "both look", mine: policy.ReconAudit, theirs: policy.ActionRefuse, refused: true, flags: FlagInboundRule, told: true},
		{name: "its own refuses", mine: policy.ActionRefuse, theirs: policy.ReconOff, refused: true, told: true},
		{name: "its own audits", mine: policy.ReconAudit, theirs: policy.ReconOff, told: true},
		{name: "nobody looks", mine: policy.ReconOff, theirs: policy.ReconOff},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := looked("looked-at", policy.ModeEnforce, test.theirs, policy.ActionRefuse)
			looker := looked("looks", policy.ModeEnforce, test.mine, policy.ActionRefuse)
			looker.Rule = test.rules
			looker.Identity.Sandbox, target.Identity.Sandbox = test.pod, test.pod
			theirs, mine := newContainer(t, node, target), newContainer(t, node, looker)
			v := meet(theirs.run("victim"))
			said, status := mine.run("open", "/proc/"+v.pid+"/maps", strconv.Itoa(unix.O_RDONLY)).end()
			if refused := strings.HasSuffix(said, "permission denied"); refused != test.refused || !refused && said != "opened" {
				t.Errorf("it ended with %v and said %q", status, said)
			}
			told, other := mine, theirs
			if test.targets {
				told, other = theirs, mine
			}
			other.nothing()
			if !test.told {
				told.nothing()
				return
			}
			w := want{
				vector: access.VectorRecon, relation: access.RelationOtherContainer, verdict: access.VerdictObserved,
				sensor: access.SensorLSM, target: v.number(),
			}
			if test.pod != "" {
				w.relation = access.RelationSamePod
			}
			if test.refused {
				w.verdict = access.VerdictRefused
			}
			if r := told.expect(w); r.Flags != test.flags || r.Actor.Cgroup == 0 {
				t.Errorf("its flags are %b, not %b: %+v", r.Flags, test.flags, *r)
			}
		})
	}
}

// A process that outlived its container is refused everywhere, if the target's plan watches.
func TestLSMReconOrphan(t *testing.T) {
	testenv.LSM(t)
	node := sharedNode(t)
	theirs := newContainer(t, node, looked("looked-at", policy.ModeEnforce, policy.ReconAudit, policy.ActionObserve))
	v := meet(theirs.run("victim"))
	c := newContainer(t, node, plan("lenient", policy.ModeEnforce, allObserved()))
	p := c.run("escape", testenv.Cgroup2(t), "gate", "open", "/proc/"+v.pid+"/maps", strconv.Itoa(unix.O_RDONLY))
	p.expect("at the gate")
	if err := Release(node.paths, "lenient"); err != nil {
		t.Fatal(err)
	}
	p.say("go")
	if said, status := p.end(); !strings.HasSuffix(said, "permission denied") {
		t.Errorf("it ended with %v and said %q", status, said)
	}
	theirs.expect(want{vector: access.VectorRecon, verdict: access.VerdictRefused, sensor: access.SensorLSM, flags: FlagInbound, target: v.number()})
}

package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/shimward/shimward/access"
)

// The limits on a profile's own rules. The kernel programs have room for this many.
const (
	MaxRules           = 16 // per container, with those of the profiles that its own extends
	MaxRuleUIDs        = 8  // per rule
	maxRuleExecutables = 32 // per rule and list
)

// Rule is one of a profile's own rules, [[profiles.NAME.rule]]. For an access that it fits, it
// takes precedence over the table, which goes by relation alone. An omitted condition fits
// everything. A rule covers what the profile's containers do, not accesses to them from outside,
// and never a process's ordinary use of its own memory.
type Rule struct {
	Name       string             `json:"name" toml:"name"`
	Action     Action             `json:"action" toml:"action"`
	Vectors    []access.Vector    `json:"vectors,omitempty" toml:"vectors"`
	Operations []access.Operation `json:"operations,omitempty" toml:"operations"`
	Relations  []access.Relation  `json:"relations,omitempty" toml:"relations"`
	// Executables are the actor's, as absolute paths in the container's root. As with exceptions,
	// each stands for the file that is there when the container is made; a path without a file fits
	// no process.
	Executables []string `json:"executables,omitempty" toml:"executables"`
	// UIDs are effective user IDs of the actor, as numbered on the node and shown in events.
	UIDs []uint32 `json:"uids,omitempty" toml:"uids"`
	// TargetExecutables are the target's, also in the container's own root.
	TargetExecutables []string `json:"target_executables,omitempty" toml:"target_executables"`
}

// RuleSet is a set of a plan's rules, by index.
type RuleSet uint16

// Has reports whether s contains rule i.
func (s RuleSet) Has(i int) bool { return s&(1<<i) != 0 }

// Fits holds the rules of a plan that name an executable: as the actor's, and as the target's.
type Fits struct{ Actor, Target RuleSet }

// Parties holds what rules can ask about the two sides of an access.
type Parties struct {
	UID           int     // the actor's
	Actor, Target RuleSet // the rules that name each one's executable
	// ActorUnknown and TargetUnknown say that a side cannot be determined, or may change at any
	// moment. A rule that allows then does not fit because of that side, and every rule that
	// refuses does.
	ActorUnknown, TargetUnknown bool
}

// RuleFiles returns the executables that the plan's rules name.
func (p *Plan) RuleFiles() map[string]Fits {
	files := map[string]Fits{}
	for i := range p.Rule {
		for _, path := range p.Rule[i].Executables {
			fits := files[path]
			fits.Actor |= 1 << i
			files[path] = fits
		}
		for _, path := range p.Rule[i].TargetExecutables {
			fits := files[path]
			fits.Target |= 1 << i
			files[path] = fits
		}
	}
	return files
}

// First returns the number of the first of the plan's own rules that fits an access, counted from
// 1, or 0 if none fits.
func (p *Plan) First(deed Deed, parties Parties) int {
	if deed.Inbound {
		return 0
	}
	for i := range p.Rule {
		if p.Rule[i].fits(deed, i, parties) {
			return i + 1
		}
	}
	return 0
}

func (r *Rule) fits(deed Deed, index int, parties Parties) bool {
	if !anyOr(r.Vectors, deed.Vector) || !anyOr(r.Operations, deed.Operation) || !anyOr(r.Where(), deed.Relation) {
		return false
	}
	refuses := r.Action == ActionRefuse
	if len(r.Executables) > 0 && !orElse(parties.ActorUnknown, refuses, parties.Actor.Has(index)) {
		return false
	}
	if len(r.TargetExecutables) > 0 && !orElse(parties.TargetUnknown, refuses, parties.Target.Has(index)) {
		return false
	}
	isUID := func(uid uint32) bool { return int(uid) == parties.UID }
	return len(r.UIDs) == 0 || orElse(parties.ActorUnknown, refuses, slices.ContainsFunc(r.UIDs, isUID))
}

// Where returns the relations that the rule is for, or none if it is for all. A rule with target
// executables is for the container's own processes only: the executable of a target outside the
// container is not a file of the container's root.
func (r *Rule) Where() []access.Relation {
	if len(r.Relations) == 0 && len(r.TargetExecutables) > 0 {
		return insiders
	}
	return r.Relations
}

// orElse returns a if unknown is set, and b otherwise.
func orElse(unknown, a, b bool) bool {
	if unknown {
		return a
	}
	return b
}

// anyOr reports whether condition contains one or is empty.
func anyOr[T comparable](condition []T, one T) bool {
	return len(condition) == 0 || slices.Contains(condition, one)
}

var insiders = []access.Relation{access.RelationSelf, access.RelationChild, access.RelationSameContainer}

// checkRules checks a container's rules, in their order.
func checkRules(rules []Rule, recon Action) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("rule: there are %d, with those of the profiles that it extends: keep at most %d", len(rules), MaxRules)
	}
	seen := map[string]bool{}
	for i := range rules {
		rule := &rules[i]
		if err := rule.checkName(); err != nil {
			return fmt.Errorf("rule number %d: name = %w", i+1, err)
		}
		if seen[rule.Name] {
			return fmt.Errorf("rule %s: there are two of that name, with those of the profiles that it extends: names must be unique, because events name the rule that decided", quote(rule.Name))
		}
		seen[rule.Name] = true
		if err := rule.check(recon); err != nil {
			return fmt.Errorf("rule %s: %w", quote(rule.Name), err)
		}
	}
	return nil
}

// checkName keeps a rule from being mistaken for an entry of the table.
func (r *Rule) checkName() error {
	if !label(r.Name) {
		return fmt.Errorf("%s: write a name of at most %d lower-case letters, digits and hyphens", quote(r.Name), maxNameLength)
	}
	for _, entry := range (&Rules{}).each() {
		if entry.name == r.Name {
			return fmt.Errorf("%s: is the name of a profile's setting, choose another name", quote(r.Name))
		}
	}
	if r.Name == KeyAllow || r.Name == "lease" {
		return fmt.Errorf("%s: is how an event names an exception, choose another name", quote(r.Name))
	}
	return nil
}

func (r *Rule) check(recon Action) error {
	if err := (entry{"action", &r.Action, []Action{ActionObserve, ActionRefuse}}).check(); err != nil {
		return fmt.Errorf("action = %w", err)
	}
	if len(r.Vectors)+len(r.Operations)+len(r.Relations)+len(r.Executables)+len(r.UIDs)+len(r.TargetExecutables) == 0 {
		return errors.New("has no condition: write at least one of vectors, operations, relations, executables, uids, target_executables")
	}
	if recon == ReconOff && slices.Contains(r.Vectors, access.VectorRecon) {
		return fmt.Errorf("vectors has %q, which the profile ignores: write recon = %q or %q in the profile", access.VectorRecon, ReconAudit, ActionRefuse)
	}
	if slices.Contains(r.Relations, access.RelationSelf) && len(r.Vectors) > 0 && !slices.Contains(r.Vectors, access.VectorSelfMem) {
		return fmt.Errorf("relations has %q, which none of the rule's vectors can have: access to a process's own memory is seen only as a write through %s", access.RelationSelf, access.VectorSelfMem)
	}
	if len(r.UIDs) > MaxRuleUIDs {
		return fmt.Errorf("uids has %d: keep at most %d", len(r.UIDs), MaxRuleUIDs)
	}
	for _, list := range []struct {
		key   string
		paths []string
	}{{"executables", r.Executables}, {"target_executables", r.TargetExecutables}} {
		if len(list.paths) > maxRuleExecutables {
			return fmt.Errorf("%s names %d: keep at most %d", list.key, len(list.paths), maxRuleExecutables)
		}
		for _, path := range list.paths {
			if err := CheckException(path); err != nil {
				return fmt.Errorf("%s: %w", list.key, err)
			}
		}
	}
	if len(r.TargetExecutables) > 0 && !subset(r.Relations, insiders) {
		return fmt.Errorf("target_executables are files of the container's own root: of relations, write only %q, %q and %q",
			access.RelationSelf, access.RelationChild, access.RelationSameContainer)
	}
	return nil
}

// weakerRule returns the name of the rule that makes rules weaker than those of least, or "": a
// refusing rule of least that is missing or comes later, or a rule that allows what may be refused
// without it.
func weakerRule(rules []Rule, least *Profile) string {
	next := 0 // index into least's own rules, in their order
	for i := range rules {
		at := slices.IndexFunc(least.Rule[next:], func(one Rule) bool { return reflect.DeepEqual(one, rules[i]) })
		if at < 0 {
			if rules[i].Action == ActionObserve {
				return rules[i].Name
			}
			continue
		}
		if name := firstRefusing(least.Rule[next : next+at]); name != "" {
			return name
		}
		next += at + 1
	}
	return firstRefusing(least.Rule[next:])
}

func firstRefusing(rules []Rule) string {
	for i := range rules {
		if rules[i].Action == ActionRefuse {
			return rules[i].Name
		}
	}
	return ""
}

package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The built-in profiles. Their names are promises to pod authors, so a config cannot redefine them.
const (
	// ProfileBaseline takes the container as the boundary: it refuses access to memory outside it.
	// Inside, debuggers, profilers and crash handlers are legitimate users, so access to a process
	// of the same container is observed. So is a process's writing to its own memory through
	// /proc/self/mem, which few legitimate programs do (gdb opens it that way) and which is common
	// in code injection.
	ProfileBaseline = "baseline"
	// ProfileStrict refuses every access to memory except a process's ordinary use of its own,
	// including access to this container from others. It breaks debuggers and tools such as
	// LeakSanitizer unless they are allowed by name.
	ProfileStrict = "strict"
)

// Profile is a named set of rules and exceptions in a node's config.
type Profile struct {
	Extends string `toml:"extends"` // the profile that supplies omitted rules; its exceptions are kept
	Rules
	Rule     []Rule   `toml:"rule"`      // tried before Rules, in this order, and before those of the profile that it extends
	Allow    []string `toml:"allow"`     // like the annotation shimward.dev/allow
	AllowPod []string `toml:"allow_pod"` // like the annotation shimward.dev/allow-pod
	// RefuseRisks are the risks that, if found in a spec, prevent the container's creation under
	// enforce.
	RefuseRisks []Risk `toml:"refuse_risks"`
}

func builtin(name string) (Profile, bool) {
	switch name {
	case ProfileBaseline:
		return Profile{Rules: Rules{
			SelfMemWrite:   ActionObserve,
			Child:          ActionObserve,
			SameContainer:  ActionObserve,
			SamePod:        ActionRefuse,
			OtherContainer: ActionRefuse,
			Host:           ActionRefuse,
			Kernel:         ActionRefuse,
			Recon:          ReconOff,
			Inbound:        ActionObserve,
		}}, true
	case ProfileStrict:
		return Profile{Rules: Rules{
			SelfMemWrite:   ActionRefuse,
			Child:          ActionRefuse,
			SameContainer:  ActionRefuse,
			SamePod:        ActionRefuse,
			OtherContainer: ActionRefuse,
			Host:           ActionRefuse,
			Kernel:         ActionRefuse,
			Recon:          ReconOff,
			Inbound:        ActionRefuse,
		}}, true
	default:
		return Profile{}, false
	}
}

// entry is one field of Rules, with its name in a config.
type entry struct {
	name    string
	action  *Action
	actions []Action // the possible values, weakest first
}

// weaker reports whether e's action is weaker than that of another entry of the same name.
func (e entry) weaker(than entry) bool {
	return slices.Index(e.actions, *e.action) < slices.Index(e.actions, *than.action)
}

func (r *Rules) each() []entry {
	actions := []Action{ActionObserve, ActionRefuse}
	return []entry{
		{"self_mem_write", &r.SelfMemWrite, actions},
		{"child", &r.Child, actions},
		{"same_container", &r.SameContainer, actions},
		{"same_pod", &r.SamePod, actions},
		{"other_container", &r.OtherContainer, actions},
		{"host", &r.Host, actions},
		{"kernel", &r.Kernel, actions},
		{"recon", &r.Recon, []Action{ReconOff, ReconAudit, ActionRefuse}},
		{"inbound", &r.Inbound, actions},
	}
}

// ProfileNames returns the profiles that a pod of this node can ask for, sorted.
func (c *Config) ProfileNames() []string {
	names := slices.Sorted(maps.Keys(c.Profiles))
	names = append(names, ProfileBaseline, ProfileStrict)
	slices.Sort(names)
	return slices.Compact(names)
}

// Profile returns the profile of that name, merged with all that it extends.
func (c *Config) Profile(name string) (Profile, error) { return c.resolve(name, 0) }

func (c *Config) resolve(name string, depth int) (Profile, error) {
	if profile, ok := builtin(name); ok {
		return profile, nil
	}
	profile, ok := c.Profiles[name]
	if !ok {
		return Profile{}, fmt.Errorf("%s: there is no such profile on this node, write one of %s",
			quote(name), listNames(c.ProfileNames()))
	}
	if profile.Extends == "" {
		return profile, nil
	}
	if depth >= maxExtends {
		return Profile{}, fmt.Errorf("%s: extends others more than %d deep or in a circle, extend %q or %q",
			quote(name), maxExtends, ProfileBaseline, ProfileStrict)
	}
	parent, err := c.resolve(profile.Extends, depth+1)
	if err != nil {
		return Profile{}, err
	}
	inherited := parent.each()
	for i, entry := range profile.each() {
		if *entry.action == "" {
			*entry.action = *inherited[i].action
		}
	}
	profile.Rule = slices.Concat(profile.Rule, parent.Rule)
	profile.Allow = union(parent.Allow, profile.Allow)
	profile.AllowPod = union(parent.AllowPod, profile.AllowPod)
	profile.RefuseRisks = union(parent.RefuseRisks, profile.RefuseRisks)
	return profile, nil
}

func (c *Config) checkProfiles() error {
	if len(c.Profiles) > maxProfiles {
		return fmt.Errorf("profiles: there are %d, keep at most %d", len(c.Profiles), maxProfiles)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		if err := c.checkProfile(name); err != nil {
			return fmt.Errorf("profiles.%s: %w", printName(name), err)
		}
	}
	return nil
}

func (c *Config) checkProfile(name string) error {
	if _, ok := builtin(name); ok {
		return errors.New(`is built in and cannot be changed: choose another name and write extends = "` + name + `"`)
	}
	if !label(name) {
		return fmt.Errorf("write a name of at most %d lower-case letters, digits and hyphens", maxNameLength)
	}
	own := c.Profiles[name]
	for _, entry := range own.each() {
		if *entry.action == "" {
			continue
		}
		if err := entry.check(); err != nil {
			return fmt.Errorf("%s = %w", entry.name, err)
		}
	}
	for _, list := range []struct {
		key   string
		paths []string
	}{{"allow", own.Allow}, {"allow_pod", own.AllowPod}} {
		for _, path := range list.paths {
			if err := CheckException(path); err != nil {
				return fmt.Errorf("%s: %w", list.key, err)
			}
		}
	}
	if err := checkRisks(own.RefuseRisks); err != nil {
		return fmt.Errorf("refuse_risks: %w", err)
	}
	whole, err := c.resolve(name, 0)
	if err != nil {
		return fmt.Errorf("extends: %w", err)
	}
	for _, entry := range whole.each() {
		if *entry.action == "" {
			return fmt.Errorf(`%s is missing: write it, or extends = %q for what is left out`, entry.name, ProfileBaseline)
		}
	}
	if err := checkRules(whole.Rule, whole.Recon); err != nil {
		return err
	}
	return checkExceptionCount(whole.Allow, whole.AllowPod)
}

func checkExceptionCount(allow, allowPod []string) error {
	if len(allow) > maxExceptions || len(allowPod) > maxExceptions {
		return fmt.Errorf("allows %d executables in the container and %d in the pod, with what it extends: keep each at %d or fewer",
			len(allow), len(allowPod), maxExceptions)
	}
	return nil
}

// union returns the elements of both lists, sorted and without duplicates, so that two configs with
// the same meaning have the same digest.
func union[T ~string](a, b []T) []T {
	if len(a)+len(b) == 0 {
		return nil
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func listNames(names []string) string {
	const most = 20
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" or %d more", len(names)-most)
		names = names[:most]
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, ", ") + more
}

// printName formats a name as part of a key: unquoted if it is unambiguous.
func printName(name string) string {
	if label(name) {
		return name
	}
	return quote(name)
}

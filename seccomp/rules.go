package seccomp

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// rule is one rule as it reaches libseccomp.
type rule struct {
	verdict
	errnoRet *uint
	args     []specs.LinuxSeccompArg
}

// rules are a profile's rules for one system call.
type rules struct {
	name     string
	selects  selector
	concern  selector
	fallback verdict // the profile's default
	// always is the effective unconditional rule. libseccomp keeps the first of several, and an
	// unconditional rule beats conditional ones in either order.
	always *rule
	when   []rule // the conditional rules, if there is no unconditional one
}

func rulesFor(profile *specs.LinuxSeccomp, call watched, fallback verdict) (rules, error) {
	r, err := readRules(profile, call, fallback)
	if err == nil && r.traced() {
		return rules{}, fmt.Errorf("seccomp profile: %s has the action %s, by a rule or by default, so a tracer of the caller could let it through: "+
			"change the action to SCMP_ACT_ERRNO", call.name, specs.ActTrace)
	}
	return r, err
}

// readRules is rulesFor, but takes rules that ask a tracer.
func readRules(profile *specs.LinuxSeccomp, call watched, fallback verdict) (rules, error) {
	name := call.name
	r := rules{name: name, selects: call.selects, concern: call.concern, fallback: fallback}
	for _, entry := range profile.Syscalls {
		if !slices.Contains(entry.Names, name) {
			continue
		}
		v, err := newVerdict(entry.Action, entry.ErrnoRet)
		if err != nil {
			return rules{}, fmt.Errorf("seccomp profile: rule for %s: %w", name, err)
		}
		if v == fallback {
			continue // runc skips these: libseccomp rejects a rule that repeats the default
		}
		if len(entry.Args) == 0 {
			if r.always == nil {
				r.always = &rule{verdict: v}
			}
			continue
		}
		if slices.ContainsFunc(entry.Args, comparesNothing) {
			return rules{}, fmt.Errorf("seccomp profile: a rule for %s has a condition whose mask leaves out the lower 32 bits, "+
				"which has a different meaning on each architecture: remove that condition", name)
		}
		for _, args := range split(entry.Args) {
			r.when = append(r.when, rule{verdict: v, errnoRet: entry.ErrnoRet, args: args})
		}
	}
	if r.always != nil {
		r.when = nil
	}
	return r, nil
}

// traced reports whether a tracer may decide about a call of that name: the kernel follows the tracer,
// and asks no listener.
func (r rules) traced() bool {
	if r.always != nil {
		return r.always.action == specs.ActTrace
	}
	return r.fallback.action == specs.ActTrace || slices.ContainsFunc(r.when, func(one rule) bool { return one.action == specs.ActTrace })
}

// comparesNothing reports whether libseccomp drops a condition, at least on 32-bit architectures: a
// rule with no others is then unconditional there.
func comparesNothing(arg specs.LinuxSeccompArg) bool {
	return arg.Op == specs.OpMaskedEqual && arg.Value&requestMask == 0
}

// split returns the alternatives that runc reads an entry's conditions as: all of them must hold,
// unless two are on the same argument, in which case any one is enough (libcontainer/seccomp,
// matchCall).
func split(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	seen := map[uint]bool{}
	for _, arg := range args {
		if seen[arg.Index] {
			alternatives := make([][]specs.LinuxSeccompArg, 0, len(args))
			for _, arg := range args {
				alternatives = append(alternatives, []specs.LinuxSeccompArg{arg})
			}
			return alternatives
		}
		seen[arg.Index] = true
	}
	return [][]specs.LinuxSeccompArg{args}
}

// notify returns the entries that replace these rules, so that the listener is asked whenever they
// allow the call, or none if they never do. The second list is what the listener has to evaluate
// itself.
func (r rules) notify() (entries, residue []specs.LinuxSyscall, err error) {
	permits := func(r rule) bool { return r.allows() }
	switch {
	case r.always != nil && r.always.allows():
		return r.notifyAllowed(r.always.action), nil, nil
	case r.always != nil:
		return nil, nil, nil
	case len(r.when) == 0 && r.fallback.allows():
		return r.notifyAllowed(r.fallback.action), nil, nil
	case r.fallback.allows():
		return r.hand()
	case slices.ContainsFunc(r.when, permits):
		return r.relabel(), nil, nil
	default:
		return nil, nil, nil
	}
}

// notifyAllowed replaces rules that allow every such call.
func (r rules) notifyAllowed(action specs.LinuxSeccompAction) []specs.LinuxSyscall {
	if r.selects.all() {
		return []specs.LinuxSyscall{r.entry(specs.ActNotify)}
	}
	var entries []specs.LinuxSyscall
	for _, condition := range r.selects.conditions() {
		entries = append(entries, r.entry(specs.ActNotify, condition))
	}
	if action == r.fallback.action {
		return entries
	}
	// If the profile refuses with an errno by default, values that no kernel knows may be left to
	// that.
	within := []span{{}}
	if r.fallback.action == specs.ActErrno {
		within = r.selects.known
	}
	for _, condition := range r.selects.complement(within...) {
		entries = append(entries, r.entry(action, condition))
	}
	return entries
}

// relabel replaces the rules of a profile that refuses by default and allows a call on conditions:
// the same conditions now notify. The filter's tree keeps its shape, so a call that matched a rule
// of the old filter matches the same one of the new.
func (r rules) relabel() []specs.LinuxSyscall {
	entries := make([]specs.LinuxSyscall, 0, len(r.when))
	for _, old := range r.when {
		entry := r.entry(old.action, old.args...)
		entry.ErrnoRet = old.errnoRet
		if old.allows() && !slices.ContainsFunc(old.args, r.selects.excludes) && !slices.ContainsFunc(old.args, r.concern.excludes) {
			entry.Action = specs.ActNotify
			entry.ErrnoRet = nil
		}
		entries = append(entries, entry)
	}
	return entries
}

// excludes reports whether a call that meets the condition is not one to be notified, whether the
// comparison is done in 64 bits or in 32.
func (s selector) excludes(arg specs.LinuxSeccompArg) bool {
	if s.all() || arg.Index != s.index || arg.Op != specs.OpEqualTo {
		return false
	}
	if s.others {
		return arg.Value == uint64(s.values[0])
	}
	return !slices.Contains(s.values, uint32(arg.Value&requestMask))
}

// hand makes the listener evaluate the rules. They are those of a profile that allows by default
// and refuses on conditions, and only some such conditions can be inverted in a filter. The
// listener is asked every time.
func (r rules) hand() (entries, residue []specs.LinuxSyscall, err error) {
	for _, old := range r.when {
		if !old.answerable() {
			return nil, nil, fmt.Errorf("seccomp profile: the rule for %s has a condition and the action %s, which a listener cannot carry out: "+
				"change the action to SCMP_ACT_ERRNO, or remove the condition", r.name, old.action)
		}
		entry := r.entry(old.action, old.args...)
		entry.ErrnoRet = old.errnoRet
		residue = append(residue, entry)
	}
	return []specs.LinuxSyscall{r.entry(specs.ActNotify)}, residue, nil
}

func (r rules) entry(action specs.LinuxSeccompAction, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{r.name}, Action: action, Args: args}
}

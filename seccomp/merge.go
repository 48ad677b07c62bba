package seccomp

import (
	"errors"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// MergeOptions configures [Merge].
type MergeOptions struct {
	Socket        string       // absolute path of the listener's socket
	Architectures []specs.Arch // for a profile that has to be made from nothing; see HostArchitectures
}

// ErrMerged is wrapped by Merge's error if the profile already has its rules.
var ErrMerged = errors.New("the profile has already been merged")

// Residue is the part of a profile that the filter can no longer express once its rules have become
// notifications: the listener evaluates it on the registers before it asks the Decider. It lives as
// long as that listener.
type Residue struct {
	Profile specs.LinuxSeccomp
}

// Merge returns profile, which may be nil, with rules that notify the listener at o.Socket of the
// system calls that can reach memory. It does not modify its arguments. The result is never weaker:
// a call that the profile refuses is still refused, without a notification, and for one that it
// allows the listener is asked. If the profile refuses all of them, there is nothing to listen for
// and the result has no listenerPath. Otherwise, the result keeps the processes from adding a
// listener of their own, in case this one ends before them. The Residue is nil unless the listener needs it.
//
// It is an error if the profile has a listener of its own, or rules for these calls that a listener
// cannot take over.
func Merge(profile *specs.LinuxSeccomp, o MergeOptions) (*specs.LinuxSeccomp, *Residue, error) {
	if profile == nil {
		profile = &specs.LinuxSeccomp{}
	}
	if err := refuseListener(profile, o.Socket); err != nil {
		return nil, nil, err
	}
	if profile.DefaultAction == "" && len(profile.Syscalls) == 0 {
		// runc also treats an empty profile as none.
		profile = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: o.Architectures}
	}
	fallback, err := newVerdict(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, nil, fmt.Errorf("seccomp profile: defaultAction: %w", err)
	}

	merged := clone(profile)
	residue := &Residue{Profile: specs.LinuxSeccomp{
		DefaultAction: profile.DefaultAction, Architectures: merged.Architectures,
	}}
	for _, call := range calls {
		r, err := rulesFor(profile, call, fallback)
		if err != nil {
			return nil, nil, err
		}
		replacement, left, err := r.notify()
		if err != nil {
			return nil, nil, err
		}
		if replacement == nil {
			continue // refused whatever the arguments
		}
		drop(merged, call.name)
		merged.Syscalls = append(merged.Syscalls, replacement...)
		residue.Profile.Syscalls = append(residue.Profile.Syscalls, left...)
	}
	if !slices.ContainsFunc(merged.Syscalls, isNotify) {
		return clone(profile), nil, nil
	}
	if err := refuseMoreListeners(merged, profile, fallback); err != nil {
		return nil, nil, err
	}
	merged.ListenerPath = o.Socket
	if len(residue.Profile.Syscalls) == 0 {
		residue = nil
	}
	return merged, residue, nil
}

func isNotify(entry specs.LinuxSyscall) bool { return entry.Action == specs.ActNotify }

func refuseListener(profile *specs.LinuxSeccomp, socket string) error {
	const remedy = "the kernel allows only one listener: remove it from the profile, or set the annotation shimward.dev/mode to off for this container"
	switch {
	case profile.ListenerPath != "" && profile.ListenerPath == socket:
		return fmt.Errorf("seccomp profile: listenerPath is shimward's own: %w", ErrMerged)
	case profile.ListenerPath != "":
		return fmt.Errorf("seccomp profile has a listener of its own (listenerPath %q), and %s", profile.ListenerPath, remedy)
	case profile.DefaultAction == specs.ActNotify || slices.ContainsFunc(profile.Syscalls, isNotify):
		return fmt.Errorf("seccomp profile uses SCMP_ACT_NOTIFY, which needs a listener of its own, and %s", remedy)
	}
	return nil
}

// drop removes a system call from every entry.
func drop(profile *specs.LinuxSeccomp, name string) {
	kept := profile.Syscalls[:0]
	for _, entry := range profile.Syscalls {
		entry.Names = slices.DeleteFunc(entry.Names, func(n string) bool { return n == name })
		if len(entry.Names) > 0 {
			kept = append(kept, entry)
		}
	}
	profile.Syscalls = kept
}

// clone copies what Merge changes: the lists are copied, what they point to is shared.
func clone(profile *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	c := *profile
	c.Architectures = slices.Clone(profile.Architectures)
	c.Flags = slices.Clone(profile.Flags)
	c.Syscalls = slices.Clone(profile.Syscalls)
	for i := range c.Syscalls {
		c.Syscalls[i].Names = slices.Clone(c.Syscalls[i].Names)
	}
	return &c
}

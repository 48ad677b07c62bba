package seccomp

import (
	"fmt"
	"syscall"
)

// residue evaluates a profile's rules for some calls on the calls' registers.
type residue struct {
	filter *filter
	names  map[string]bool // the system calls that it has rules for
}

func newResidue(r *Residue) (*residue, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // a nil residue has no rules
	}
	filter, err := newFilter(&r.Profile)
	if err != nil {
		return nil, fmt.Errorf("the profile's own conditions: %w", err)
	}
	e := &residue{filter: filter, names: map[string]bool{}}
	for _, entry := range r.Profile.Syscalls {
		for _, name := range entry.Names {
			e.names[name] = true
		}
	}
	return e, nil
}

// evaluate returns the profile's response to a call, or nil if the profile allows it.
func (r *residue) evaluate(n *notification) (*response, error) {
	if r == nil || !r.names[n.Syscall] {
		return nil, nil //nolint:nilnil // it says nothing
	}
	ret, err := r.filter.run(n.Data)
	if err != nil {
		return nil, err
	}
	switch ret & retActionMask {
	case retAllow, retLog:
		return nil, nil //nolint:nilnil // it lets the call through
	case retErrno:
		// The kernel clamps to MAX_ERRNO (kernel/seccomp.c, __seccomp_filter).
		return &response{errno: syscall.Errno(min(ret&retData, 4095))}, nil
	default:
		return nil, fmt.Errorf("the profile's own conditions make %#x of %s, which a listener cannot carry out", ret, n.Syscall)
	}
}

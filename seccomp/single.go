package seccomp

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newListener is the bit of seccomp(2)'s flags, its argument flagsIndex, that asks for a listener;
// include/uapi/linux/seccomp.h.
const (
	newListener = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	flagsIndex  = 1
)

// refuseMoreListeners has merged refuse seccomp(2) where it asks for a listener, with the kernel's own
// error for processes that have one: EBUSY. When shimward's listener is gone, the kernel would grant the
// caller a listener of its own, and ask that about the calls which it would otherwise fail with ENOSYS.
func refuseMoreListeners(merged, profile *specs.LinuxSeccomp, fallback verdict) error {
	r, err := readRules(profile, watched{name: "seccomp"}, fallback)
	if err != nil {
		return err
	}
	v := fallback
	switch {
	case r.always != nil:
		v = r.always.verdict
	case len(r.when) > 0:
		return errors.New("seccomp profile: a rule for seccomp(2) has a condition, beside which shimward cannot add its own, that the caller asks for no listener: " +
			"remove that condition")
	}
	if !v.allows() && v.action != specs.ActTrace { // a tracer may let it through
		return nil
	}
	asks := func(bits uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: flagsIndex, Op: specs.OpMaskedEqual, Value: newListener, ValueTwo: bits}
	}
	drop(merged, r.name)
	if v != fallback {
		rest := r.entry(v.action, asks(0))
		if v.action == specs.ActTrace {
			code := uint(v.code)
			rest.ErrnoRet = &code
		}
		merged.Syscalls = append(merged.Syscalls, rest)
	}
	busy := uint(unix.EBUSY)
	refusal := r.entry(specs.ActErrno, asks(newListener))
	refusal.ErrnoRet = &busy
	merged.Syscalls = append(merged.Syscalls, refusal)
	return nil
}

package seccomp

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// verdict is a rule's action as runc passes it to libseccomp.
type verdict struct {
	action specs.LinuxSeccompAction
	code   uint16 // for ERRNO and TRACE
}

// newVerdict interprets an action and its errnoRet as runc does: EPERM unless it is set
// (libcontainer/seccomp, getAction). The kernel keeps 16 bits of it.
func newVerdict(action specs.LinuxSeccompAction, errnoRet *uint) (verdict, error) {
	v := verdict{action: action}
	switch action {
	case specs.ActErrno, specs.ActTrace:
		v.code = uint16(unix.EPERM)
		if errnoRet != nil {
			v.code = uint16(*errnoRet) //nolint:gosec // truncated as runc and the kernel do
		}
	case specs.ActKill:
		v.action = specs.ActKillThread
	case specs.ActKillThread, specs.ActKillProcess, specs.ActTrap, specs.ActAllow, specs.ActLog, specs.ActNotify:
	default:
		return verdict{}, fmt.Errorf("unknown action %q", action)
	}
	return v, nil
}

// allows reports whether the system call is carried out.
func (v verdict) allows() bool { return v.action == specs.ActAllow || v.action == specs.ActLog }

// answerable reports whether a listener can have the same effect.
func (v verdict) answerable() bool { return v.allows() || v.action == specs.ActErrno }

//go:build cgo

package seccomp

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
)

// architecture returns libseccomp's identifier for an architecture of the runtime-spec.
func architecture(arch specs.Arch) (libseccomp.ScmpArch, error) {
	switch arch {
	case specs.ArchX86_64:
		return libseccomp.ArchAMD64, nil
	case specs.ArchX86:
		return libseccomp.ArchX86, nil
	case specs.ArchX32:
		return libseccomp.ArchX32, nil
	case specs.ArchAARCH64:
		return libseccomp.ArchARM64, nil
	case specs.ArchARM:
		return libseccomp.ArchARM, nil
	default:
		return libseccomp.ArchInvalid, fmt.Errorf("unknown architecture %q", arch)
	}
}

// compile generates the program that runc would load for a profile: it makes the same libseccomp
// calls in the same order (libcontainer/seccomp, InitSeccomp and matchCall).
func compile(profile *specs.LinuxSeccomp) ([]byte, error) {
	fallback, err := newVerdict(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("compile a filter: defaultAction: %w", err)
	}
	f, err := libseccomp.NewFilter(fallback.libseccomp())
	if err != nil {
		return nil, fmt.Errorf("compile a filter: %w", err)
	}
	defer f.Release()
	for _, name := range profile.Architectures {
		arch, err := architecture(name)
		if err != nil {
			return nil, fmt.Errorf("compile a filter: %w", err)
		}
		if err := f.AddArch(arch); err != nil {
			return nil, fmt.Errorf("compile a filter: add architecture %s: %w", name, err)
		}
	}
	rules := 0
	for _, entry := range profile.Syscalls {
		rules += len(entry.Names)
	}
	if rules > 32 {
		// As runc does; a libseccomp that is too old for it generates a linear filter.
		_ = f.SetOptimize(2)
	}
	for _, entry := range profile.Syscalls {
		if err := addEntry(f, entry, fallback); err != nil {
			return nil, fmt.Errorf("compile a filter: %w", err)
		}
	}
	program, err := f.ExportBPFMem()
	if err == nil {
		return program, nil
	}
	return export(f) // libseccomp before 2.6
}

func addEntry(f *libseccomp.ScmpFilter, entry specs.LinuxSyscall, fallback verdict) error {
	v, err := newVerdict(entry.Action, entry.ErrnoRet)
	if err != nil {
		return fmt.Errorf("rule for %v: %w", entry.Names, err)
	}
	if v == fallback {
		return nil
	}
	for _, name := range entry.Names {
		number, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			continue // runc leaves out names that its libseccomp does not know
		}
		if len(entry.Args) == 0 {
			if err := f.AddRule(number, v.libseccomp()); err != nil {
				return fmt.Errorf("rule for %s: %w", name, err)
			}
			continue
		}
		for _, args := range split(entry.Args) {
			conditions, err := conditions(args)
			if err != nil {
				return fmt.Errorf("rule for %s: %w", name, err)
			}
			if err := f.AddRuleConditional(number, v.libseccomp(), conditions); err != nil {
				return fmt.Errorf("rule for %s: %w", name, err)
			}
		}
	}
	return nil
}

func conditions(args []specs.LinuxSeccompArg) ([]libseccomp.ScmpCondition, error) {
	list := make([]libseccomp.ScmpCondition, 0, len(args))
	for _, arg := range args {
		op, err := operator(arg.Op)
		if err != nil {
			return nil, err
		}
		c, err := libseccomp.MakeCondition(arg.Index, op, arg.Value, arg.ValueTwo)
		if err != nil {
			return nil, fmt.Errorf("condition on argument %d: %w", arg.Index, err)
		}
		list = append(list, c)
	}
	return list, nil
}

func operator(op specs.LinuxSeccompOperator) (libseccomp.ScmpCompareOp, error) {
	switch op {
	case specs.OpNotEqual:
		return libseccomp.CompareNotEqual, nil
	case specs.OpLessThan:
		return libseccomp.CompareLess, nil
	case specs.OpLessEqual:
		return libseccomp.CompareLessOrEqual, nil
	case specs.OpEqualTo:
		return libseccomp.CompareEqual, nil
	case specs.OpGreaterEqual:
		return libseccomp.CompareGreaterEqual, nil
	case specs.OpGreaterThan:
		return libseccomp.CompareGreater, nil
	case specs.OpMaskedEqual:
		return libseccomp.CompareMaskedEqual, nil
	default:
		return libseccomp.CompareInvalid, fmt.Errorf("unknown operator %q", op)
	}
}

func (v verdict) libseccomp() libseccomp.ScmpAction {
	code := int16(v.code) //nolint:gosec // 16 bits, whatever they mean
	switch v.action {
	case specs.ActKillThread:
		return libseccomp.ActKillThread
	case specs.ActKillProcess:
		return libseccomp.ActKillProcess
	case specs.ActTrap:
		return libseccomp.ActTrap
	case specs.ActErrno:
		return libseccomp.ActErrno.SetReturnCode(code)
	case specs.ActTrace:
		return libseccomp.ActTrace.SetReturnCode(code)
	case specs.ActLog:
		return libseccomp.ActLog
	case specs.ActAllow:
		return libseccomp.ActAllow
	case specs.ActNotify:
		return libseccomp.ActNotify
	default:
		return libseccomp.ActInvalid
	}
}

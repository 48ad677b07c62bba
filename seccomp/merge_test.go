//go:build cgo

package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp" //nolint:depguard // the profile that real containers have
	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

const socket = "/run/shimward/containers/x/notify.sock"

var amd64 = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}

func options() MergeOptions { return MergeOptions{Socket: socket, Architectures: amd64} }

func ptr(n uint) *uint { return &n }

func named(action specs.LinuxSeccompAction, names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: action}
}

func when(e specs.LinuxSyscall, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	e.Args = args
	return e
}

func fails(e specs.LinuxSyscall, errno uint) specs.LinuxSyscall {
	e.ErrnoRet = ptr(errno)
	return e
}

func arg(index uint, op specs.LinuxSeccompOperator, values ...uint64) specs.LinuxSeccompArg {
	a := specs.LinuxSeccompArg{Index: index, Op: op, Value: values[0]}
	if len(values) > 1 {
		a.ValueTwo = values[1]
	}
	return a
}

func all() []string {
	names := make([]string, 0, len(calls))
	for _, call := range calls {
		names = append(names, call.name)
	}
	return names
}

// runtimeDefault returns the profile that containerd gives a container that asks for
// RuntimeDefault.
func runtimeDefault(capabilities ...string) *specs.LinuxSeccomp {
	profile := seccomp.DefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}},
		Linux:   &specs.Linux{},
	})
	profile.Architectures = amd64 // containerd's list depends on the machine
	return profile
}

// profiles returns the profiles that the tests merge.
func profiles() map[string]*specs.LinuxSeccomp {
	// Docker's has these calls in entries of their own, and an explicit errno for its default.
	dockerish := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(1), Architectures: amd64,
		Syscalls: []specs.LinuxSyscall{
			named(specs.ActAllow, "read", "write", "getpid", "kcmp", "openat", "exit_group"),
			named(specs.ActAllow, "process_vm_readv", "process_vm_writev", "ptrace"),
			fails(named(specs.ActErrno, "clone3"), uint(unix.ENOSYS)),
			when(named(specs.ActAllow, "personality"), arg(0, specs.OpEqualTo, 0)),
		},
	}
	return map[string]*specs.LinuxSeccomp{
		"none":                             nil,
		"empty":                            {},
		"containerd's default":             runtimeDefault(),
		"containerd's with CAP_SYS_PTRACE": runtimeDefault("CAP_SYS_PTRACE", "CAP_SYS_ADMIN"),
		"docker's":                         dockerish,
		"native only":                      {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{named(specs.ActAllow, all()...)}},
		"deny list": {DefaultAction: specs.ActAllow, Architectures: amd64, Syscalls: []specs.LinuxSyscall{
			named(specs.ActErrno, "process_vm_writev", "ptrace"), named(specs.ActKillProcess, "kcmp"), named(specs.ActAllow, "pidfd_getfd"),
		}},
		"logs by default": {DefaultAction: specs.ActLog, Architectures: amd64, Syscalls: []specs.LinuxSyscall{
			named(specs.ActAllow, "ptrace", "kcmp"), named(specs.ActTrap, "pidfd_getfd"),
		}},
		"logs what it allows": {DefaultAction: specs.ActKill, Architectures: amd64, Syscalls: []specs.LinuxSyscall{named(specs.ActLog, all()...)}},
		"first of two wins": {DefaultAction: specs.ActErrno, Architectures: amd64, Syscalls: []specs.LinuxSyscall{
			named(specs.ActAllow, "ptrace", "kcmp"), named(specs.ActKillProcess, "ptrace", "process_madvise"), named(specs.ActAllow, "process_madvise"),
		}},
		"unconditional beats conditional": {DefaultAction: specs.ActErrno, Architectures: amd64, Syscalls: []specs.LinuxSyscall{
			when(named(specs.ActKillProcess, "ptrace"), arg(0, specs.OpEqualTo, 16)), named(specs.ActAllow, "ptrace"),
			named(specs.ActTrap, "kcmp"), when(named(specs.ActAllow, "kcmp"), arg(2, specs.OpEqualTo, 0)),
		}},
		"allows on conditions": {DefaultAction: specs.ActErrno, Architectures: amd64, Syscalls: []specs.LinuxSyscall{
			when(named(specs.ActAllow, "ptrace"), arg(0, specs.OpEqualTo, 1)),
			when(named(specs.ActAllow, "ptrace"), arg(0, specs.OpEqualTo, 1<<32|0x4206)), // PTRACE_SEIZE if only 32 bits are compared
			when(named(specs.ActAllow, "ptrace"), arg(0, specs.OpEqualTo, 16), arg(1, specs.OpGreaterThan, 1)),
			when(named(specs.ActAllow, "kcmp"), arg(2, specs.OpLessThan, 3)),
			when(named(specs.ActKillProcess, "kcmp"), arg(2, specs.OpEqualTo, 7)),
			when(named(specs.ActAllow, "process_madvise"), arg(3, specs.OpEqualTo, 4), arg(3, specs.OpEqualTo, 20)),
			when(named(specs.ActAllow, "process_vm_readv"), arg(5, specs.OpMaskedEqual, 0xff, 0)),
		}},
		"refuses on conditions": {DefaultAction: specs.ActAllow, Architectures: amd64, Syscalls: []specs.LinuxSyscall{
			fails(when(named(specs.ActErrno, "ptrace"), arg(0, specs.OpEqualTo, 16)), uint(unix.ENOSYS)),
			fails(when(named(specs.ActErrno, "ptrace"), arg(0, specs.OpEqualTo, 4), arg(1, specs.OpGreaterEqual, 1<<33)), 0),
			when(named(specs.ActErrno, "kcmp"), arg(0, specs.OpNotEqual, 1), arg(0, specs.OpEqualTo, 1)),
			fails(when(named(specs.ActErrno, "pidfd_getfd"), arg(1, specs.OpLessEqual, 2)), 4000),
		}},
	}
}

func TestMergeNeverWeaker(t *testing.T) {
	for name, profile := range profiles() {
		t.Run(name, func(t *testing.T) { compare(t, profile, options(), entries) })
	}
}

func TestMergeNeverWeakerARM(t *testing.T) {
	for name, profile := range profiles() {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Architectures = []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
			if profile != nil && profile.Architectures != nil {
				copied := *profile
				copied.Architectures = o.Architectures
				profile = &copied
			}
			compare(t, profile, o, entriesARM)
		})
	}
}

// compare runs a profile before and after Merge on all relevant calls.
func compare(t *testing.T, profile *specs.LinuxSeccomp, o MergeOptions, entries []entry) {
	t.Helper()
	before := profile
	if before == nil || before.DefaultAction == "" {
		before = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: o.Architectures}
	}
	kept, err := json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	merged, left, err := Merge(profile, o)
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := json.Marshal(profile); string(now) != string(kept) {
		t.Error("Merge changed the profile that it was given")
	}
	old, fresh := mustFilter(t, before), mustFilter(t, merged)
	own, err := newResidue(left)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, call := range calls {
			if !e.has(t, call.name) {
				continue
			}
			for _, args := range registers(call) {
				d := e.data(t, call.name, args...)
				was, is := mustRun(t, old, d), mustRun(t, fresh, d)
				if problem := judge(call, d, was, is, own); problem != "" {
					t.Errorf("%s %s%#x: was %#x, is %#x: %s", e.arch, call.name, d.Args, was, is, problem)
				}
			}
		}
		// Everything else is unchanged.
		for number := range uint32(500) {
			if e.arch == specs.ArchX32 {
				number |= x32Bit
			}
			name, err := libseccomp.ScmpSyscall(number).GetNameByArch(e.scmp)
			if _, ours := lookup(name); err == nil && ours {
				continue
			}
			for _, args := range [][6]uint64{{}, {1}, {0x20000}, {1 << 32, 2, 3}} {
				d := data{Number: number, Audit: e.audit, Args: args}
				if was, is := mustRun(t, old, d), mustRun(t, fresh, d); was != is {
					t.Errorf("%s %s (%d): was %#x, is %#x", e.arch, name, number, was, is)
				}
			}
		}
	}
}

const beginsNothing = "a request that begins nothing is notified"

// judge says what is wrong with the verdict on a call, or returns "".
func judge(call watched, d data, was, is uint32, own *residue) string {
	allowed := was&retActionMask == retAllow || was&retActionMask == retLog
	begins := call.selects.meets(d.Args) && call.concern.meets(d.Args)
	// The filter compares the whole argument, so a 0 with garbage above bit 31 counts as another
	// value.
	garbage := call.selects.others && d.Args[call.selects.index] != 0
	switch {
	case is == retNotify:
		answer, err := own.evaluate(&notification{Syscall: call.name, Data: d})
		switch {
		case err != nil:
			return err.Error()
		case answer != nil && allowed:
			return "the listener refuses what the profile allows"
		case answer != nil && (was&retActionMask != retErrno || min(was&retData, 4095) != uint32(answer.errno)):
			return fmt.Sprintf("the listener answers %d", answer.errno)
		case answer == nil && !allowed:
			return "weaker: the listener is asked about what was refused"
		case answer == nil && !begins && !garbage && !own.covers(call.name) && was&retActionMask != retLog:
			return beginsNothing
		}
		return ""
	case is != was && allowed && is&retActionMask == retErrno && !call.selects.all() && !call.selects.means(uint32(d.Args[call.selects.index])):
		return "" // the kernel would refuse it too
	case is != was:
		return "changed"
	case allowed && begins:
		return "let through without a notification"
	}
	return ""
}

func (r *residue) covers(name string) bool { return r != nil && r.names[name] }

// registers returns arguments around every value that the rules above compare with.
func registers(call watched) [][]uint64 {
	values := []uint64{
		0, 1, 2, 3, 4, 7, 15, 16, 17, 20, 31, 32, 0x4000, 0x4200, 0x4205, 0x4206, 0x4207, 0x7fff, 0x8000,
		0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 | 16, 1<<32 | 0x4206, 1<<63 | 16, 1<<33 | 4, 1 << 33, ^uint64(0), 0xffffffff00000000 | 0x4206,
	}
	if !call.selects.all() {
		for n := range uint64(0x4220) {
			if n < 70 || n > 0x41f0 || n%97 == 0 {
				values = append(values, n)
			}
		}
		for bit := range 64 {
			values = append(values, 1<<bit, 1<<bit|16, 1<<bit|0x4206, 1<<bit^16, 1<<bit^0x4206)
		}
	}
	list := make([][]uint64, 0, 12*len(values))
	for _, first := range values {
		for _, second := range []uint64{0, 2, 4, 1 << 33, 1<<33 | 2, 1<<33 | 4} {
			list = append(list, []uint64{first, second, 0, 4, 0, 0}, []uint64{first, second, 7, 20, 0, 0x100}, []uint64{first, second, 2, 0, 0, 1})
		}
	}
	return list
}

func TestMergeRefuses(t *testing.T) {
	conditional := func(action specs.LinuxSeccompAction) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{when(named(action, "ptrace"), arg(0, specs.OpEqualTo, 16))}}
	}
	for name, test := range map[string]struct {
		profile *specs.LinuxSeccomp
		want    string
	}{
		"listener":        {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/run/agent.sock"}, `listenerPath "/run/agent.sock"`},
		"notify":          {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{named(specs.ActNotify, "mount")}}, "SCMP_ACT_NOTIFY"},
		"default notify":  {&specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "SCMP_ACT_NOTIFY"},
		"kill":            {conditional(specs.ActKillProcess), "change the action to SCMP_ACT_ERRNO"},
		"kill, old":       {conditional(specs.ActKill), "change the action to SCMP_ACT_ERRNO"},
		"trap":            {conditional(specs.ActTrap), "change the action to SCMP_ACT_ERRNO"},
		"trace":           {conditional(specs.ActTrace), "change the action to SCMP_ACT_ERRNO"},
		"empty mask":      {&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{when(named(specs.ActAllow, "kcmp"), arg(0, specs.OpMaskedEqual, 0xff<<32, 1))}}, "remove that condition"},
		"unknown action":  {conditional("SCMP_ACT_MAYBE"), `unknown action "SCMP_ACT_MAYBE"`},
		"unknown default": {&specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_MAYBE"}, "defaultAction"},
		"no default":      {&specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{named(specs.ActAllow, "read")}}, "defaultAction"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Merge(test.profile, options())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestMergeTwice(t *testing.T) {
	for name, profile := range profiles() {
		t.Run(name, func(t *testing.T) {
			once, _, err := Merge(profile, options())
			if err != nil {
				t.Fatal(err)
			}
			if once.ListenerPath != socket {
				t.Fatalf("listenerPath %q", once.ListenerPath)
			}
			if _, _, err := Merge(once, options()); !errors.Is(err, ErrMerged) {
				t.Errorf("error %v, want ErrMerged", err)
			}
		})
	}
}

func TestMergeNothingToNotify(t *testing.T) {
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{named(specs.ActAllow, "read", "write")}}
	merged, left, err := Merge(profile, options())
	if err != nil || left != nil {
		t.Fatal(left, err)
	}
	if !reflect.DeepEqual(merged, profile) {
		t.Errorf("%+v, want it as it was", merged)
	}
}

// To the runtime, a profile's flags have a meaning, and so does having none.
func TestMergeKeepsFlags(t *testing.T) {
	for _, flags := range [][]specs.LinuxSeccompFlag{nil, {}, {specs.LinuxSeccompFlagWaitKillableRecv}} {
		merged, _, err := Merge(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: flags}, options())
		if err != nil || !reflect.DeepEqual(merged.Flags, flags) {
			t.Errorf("flags %v became %v (%v)", flags, merged.Flags, err)
		}
	}
}

func TestComplementIsOne(t *testing.T) {
	for _, call := range calls {
		if !call.selects.all() && !call.selects.others {
			t.Run(call.name, func(t *testing.T) {
				complementIsOne(t, call.selects, span{})
				complementIsOne(t, call.selects, call.selects.known...)
			})
		}
	}
}

// complementIsOne checks the two lists of conditions against each other: no value meets two of
// them, and every value of the spans meets the right one.
func complementIsOne(t *testing.T, s selector, within ...span) {
	t.Helper()
	notified, spared := s.conditions(), s.complement(within...)
	covered, want := uint64(0), uint64(0)
	all := slices.Concat(notified, spared)
	for i, a := range all {
		for _, one := range within {
			covered += cube{uint32(a.Value), uint32(a.ValueTwo)}.common(one)
		}
		for _, b := range all[:i] {
			if common := a.Value & b.Value; a.ValueTwo&common == b.ValueTwo&common {
				t.Errorf("%+v overlaps %+v", a, b)
			}
		}
	}
	for _, one := range within {
		if one.first&(one.size-1) != 0 {
			t.Errorf("%+v is no prefix", one)
		}
		want += uint64(one.size-1) + 1
	}
	if covered != want {
		t.Errorf("%d values meet a condition, want %d", covered, want)
	}
	meets := func(value uint32, conditions []specs.LinuxSeccompArg) bool {
		return slices.ContainsFunc(conditions, func(a specs.LinuxSeccompArg) bool { return value&uint32(a.Value) == uint32(a.ValueTwo) })
	}
	for value := range uint32(0x10000) {
		watched := slices.Contains(s.values, value)
		if meets(value, notified) != watched || watched && meets(value, spared) {
			t.Errorf("%#x: watched %v, notified %v, spared %v", value, watched, meets(value, notified), meets(value, spared))
		}
		if watched && !s.means(value) {
			t.Errorf("%#x is watched and not known", value)
		}
	}
	if len(all) > 64 {
		t.Errorf("%d conditions: more than a filter should carry", len(all))
	}
	t.Logf("%d notify, %d let through", len(notified), len(spared))
}

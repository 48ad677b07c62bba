//go:build cgo

package seccomp

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// entry is one of the system call entries of the kernel.
type entry struct {
	arch  specs.Arch
	scmp  libseccomp.ScmpArch
	audit uint32
	wide  bool // registers have 64 bits
}

// entries are all those that the test profiles have rules for. libseccomp generates filters for any
// architecture on any other.
var entries = []entry{
	{specs.ArchX86_64, libseccomp.ArchAMD64, unix.AUDIT_ARCH_X86_64, true},
	{specs.ArchX86, libseccomp.ArchX86, unix.AUDIT_ARCH_I386, false},
	{specs.ArchX32, libseccomp.ArchX32, unix.AUDIT_ARCH_X86_64, true},
}

var entriesARM = []entry{
	{specs.ArchAARCH64, libseccomp.ArchARM64, unix.AUDIT_ARCH_AARCH64, true},
	{specs.ArchARM, libseccomp.ArchARM, unix.AUDIT_ARCH_ARM, false},
}

// has reports whether the entry has such a call: ioperm exists only on x86.
func (e entry) has(t *testing.T, name string) bool {
	t.Helper()
	number, err := libseccomp.GetSyscallFromNameByArch(name, e.scmp)
	if err != nil {
		t.Fatalf("%s on %s: %v", name, e.arch, err)
	}
	return number >= 0
}

func (e entry) data(t *testing.T, name string, args ...uint64) data {
	t.Helper()
	number, err := libseccomp.GetSyscallFromNameByArch(name, e.scmp)
	if err != nil {
		t.Fatalf("%s on %s: %v", name, e.arch, err)
	}
	d := data{Number: uint32(number), Audit: e.audit, IP: 0xdeadbeefcafe}
	copy(d.Args[:], args)
	if !e.wide {
		for i := range d.Args {
			d.Args[i] &= requestMask // the kernel zero-extends a 32-bit entry's registers
		}
	}
	return d
}

func mustFilter(t *testing.T, profile *specs.LinuxSeccomp) *filter {
	t.Helper()
	f, err := newFilter(profile)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustRun(t *testing.T, f *filter, d data) uint32 {
	t.Helper()
	ret, err := f.run(d)
	if err != nil {
		t.Fatal(err)
	}
	return ret
}

func TestFilterNumbers(t *testing.T) {
	// The numbers in the kernel's tables, so that a broken libseccomp, or a mistake in `entries`,
	// cannot make all the other tests vacuous.
	want := map[specs.Arch]map[string]uint32{
		specs.ArchX86_64: {
			"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438, "process_madvise": 440,
			"process_mrelease": 448, "move_pages": 279, "migrate_pages": 256, "perf_event_open": 298, "prlimit64": 302, "bpf": 321,
			"swapon": 167, "ioperm": 173, "iopl": 172, "io_uring_setup": 425,
		},
		specs.ArchX86: {
			"ptrace": 26, "process_vm_readv": 347, "process_vm_writev": 348, "kcmp": 349, "pidfd_getfd": 438, "process_madvise": 440,
			"process_mrelease": 448, "move_pages": 317, "migrate_pages": 294, "perf_event_open": 336, "prlimit64": 340, "bpf": 357,
			"swapon": 87, "ioperm": 101, "iopl": 110, "io_uring_setup": 425,
		},
		specs.ArchX32: {
			"ptrace": x32Bit + 521, "process_vm_readv": x32Bit + 539, "process_vm_writev": x32Bit + 540,
			"kcmp": x32Bit + 312, "pidfd_getfd": x32Bit + 438, "process_madvise": x32Bit + 440,
			"process_mrelease": x32Bit + 448, "move_pages": x32Bit + 533, "migrate_pages": x32Bit + 256,
			"perf_event_open": x32Bit + 298, "prlimit64": x32Bit + 302, "bpf": x32Bit + 321,
			"swapon": x32Bit + 167, "ioperm": x32Bit + 173, "iopl": x32Bit + 172, "io_uring_setup": x32Bit + 425,
		},
	}
	for _, e := range entries {
		for _, call := range calls {
			if got := e.data(t, call.name).Number; got != want[e.arch][call.name] {
				t.Errorf("%s %s: %d, want %d", e.arch, call.name, got, want[e.arch][call.name])
			}
		}
	}
}

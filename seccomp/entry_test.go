//go:build cgo

package seccomp

import (
	"fmt"
	"runtime"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
)

// TestListenerInt80 uses the i386 entry, where numbers and widths differ.
func TestListenerInt80(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		testenv.Elsewhere(t, "int 0x80 is x86's")
	}
	s := serve(t, ListenOptions{}, Answer{Errno: unix.EPERM})
	p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	if !p.takesInt80() {
		testenv.Elsewhere(t, "this kernel takes no 32-bit system calls: those of the VMs do")
	}
	inside := p.must("fork")
	child := p.host(inside)
	const garbage = uint64(0xdead) << 32
	for name, line := range map[string]string{
		"process_vm_readv":  fmt.Sprintf("i 347 %d", inside),
		"process_vm_writev": fmt.Sprintf("i 348 %d", inside),
		"kcmp":              fmt.Sprintf("i 349 1 %d", inside),
		"ptrace":            fmt.Sprintf("i 26 %d %d", garbage|16, garbage|uint64(inside)),
	} {
		if _, errno := p.say("%s", line); errno != unix.EPERM {
			t.Errorf("%s: %v, want EPERM", line, errno)
		}
		if call := s.only(t); call.Syscall != name || call.Target.PID != child || call.Arch != specs.ArchX86 {
			t.Errorf("%s: %+v", line, call)
		}
	}
	// A request that begins nothing is not asked about there either: ESRCH is the kernel's, for a
	// process that is not traced.
	if _, errno := p.say("i 26 2 %d", inside); errno != unix.ESRCH {
		t.Errorf("PEEKDATA: %v, want ESRCH", errno)
	}
	if asked := s.calls(); len(asked) != 0 {
		t.Errorf("asked about %+v", asked)
	}
}

// TestListenerX32 uses the x32 entry, which is x86-64's with a bit set in the number. The filter
// runs before the kernel looks at its table, so even a kernel without an x32 table notifies.
func TestListenerX32(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		testenv.Elsewhere(t, "x32 is x86's")
	}
	s := serve(t, ListenOptions{}, Answer{Errno: unix.EPERM})
	p := startProcess(t, s.path, processOptions{flags: unix.CLONE_NEWPID})
	inside := p.must("fork")
	child := p.host(inside)
	for name, line := range map[string]string{
		"process_vm_readv":  fmt.Sprintf("n %d %d", x32Bit+539, inside),
		"process_vm_writev": fmt.Sprintf("n %d %d", x32Bit+540, inside),
		"kcmp":              fmt.Sprintf("n %d 1 %d", x32Bit+312, inside),
		"ptrace":            fmt.Sprintf("n %d 16 %d", x32Bit+521, inside),
		"move_pages":        fmt.Sprintf("n %d %d 1", x32Bit+533, inside),
	} {
		if _, errno := p.say("%s", line); errno != unix.EPERM {
			t.Errorf("%s: %v, want EPERM", line, errno)
		}
		if call := s.only(t); call.Syscall != name || call.Target.PID != child || call.Arch != specs.ArchX32 {
			t.Errorf("%s: %+v", line, call)
		}
	}
}

// takesInt80 reports whether the kernel accepts 32-bit system calls: it may be built without them,
// booted without them (ia32_emulation=off), or run on a host without them.
func (p *process) takesInt80() bool {
	const getpid = 20 // i386's number, which is not notified
	_, errno := p.say("i %d", getpid)
	return errno != unix.ENOSYS
}

// TestListenerHighBits checks how the kernel treats a request with garbage above its 32 bits.
func TestListenerHighBits(t *testing.T) {
	s := serve(t, ListenOptions{}, Answer{Continue: true})
	p := startProcess(t, s.path, processOptions{})
	child := p.must("fork")
	for _, request := range []uint64{1<<32 | 16, 1<<63 | 16, 0xffffffff00000010, 1<<32 | 0x4206, 1 << 32} {
		// Neither an attach nor TRACEME, although allowed: the kernel finds no traced child.
		if _, errno := p.say("n %d %d %d 0", unix.SYS_PTRACE, request, child); errno != unix.ESRCH {
			t.Errorf("request %#x: %v, want ESRCH", request, errno)
		}
		s.only(t)
	}
	if runtime.GOARCH == "amd64" && p.takesInt80() {
		if result, errno := p.say("i 26 %d %d 0 0", uint64(1)<<32|0x4206, child); result != 0 {
			t.Errorf("through int 0x80: %d, %v; want an attach", result, errno)
		}
		s.only(t)
	}
}

package seccomp

import (
	"encoding/binary"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// data is struct seccomp_data (include/uapi/linux/seccomp.h), a filter's input.
type data struct {
	Number uint32
	Audit  uint32 // AUDIT_ARCH_*
	IP     uint64
	Args   [6]uint64
}

// filter is a compiled seccomp filter that is run here instead of in the kernel.
type filter struct{ vm *bpf.VM }

// newFilter compiles a profile as the runtime would.
func newFilter(profile *specs.LinuxSeccomp) (*filter, error) {
	program, err := compile(profile)
	if err != nil {
		return nil, err
	}
	raw := make([]bpf.RawInstruction, 0, len(program)/binary.Size(unix.SockFilter{}))
	for len(program) > 0 {
		var in unix.SockFilter
		n, err := binary.Decode(program, binary.NativeEndian, &in)
		if err != nil {
			return nil, fmt.Errorf("parse the compiled filter: %w", err)
		}
		raw = append(raw, bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K})
		program = program[n:]
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, fmt.Errorf("parse the compiled filter: unknown instruction")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		return nil, fmt.Errorf("load the compiled filter: %w", err)
	}
	return &filter{vm: vm}, nil
}

// run returns SECCOMP_RET_*. It is safe for concurrent use.
func (f *filter) run(d data) (uint32, error) {
	packet, err := binary.Append(nil, binary.NativeEndian, d)
	if err != nil {
		return 0, fmt.Errorf("lay out seccomp_data: %w", err)
	}
	// The VM loads words in network byte order, seccomp in the host's.
	for word := packet; len(word) > 0; word = word[4:] {
		binary.BigEndian.PutUint32(word, binary.NativeEndian.Uint32(word))
	}
	n, err := f.vm.Run(packet)
	if err != nil {
		return 0, fmt.Errorf("run a filter: %w", err)
	}
	return uint32(n), nil //nolint:gosec // the machine returns the filter's 32 bits
}

// The return values of a filter, include/uapi/linux/seccomp.h.
const (
	retActionMask uint32 = 0xffff0000
	retData       uint32 = 0x0000ffff
	retErrno      uint32 = 0x00050000
	retNotify     uint32 = 0x7fc00000
	retLog        uint32 = 0x7ffc0000
	retAllow      uint32 = 0x7fff0000
)

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/shimward/shimward/integration/internal/node"
)

// empty measures with an empty program attached where the access sensor would be, and nothing of
// shimward loaded. This shows what the kernel needs to call any program there.
func (b *bench) empty(ctx context.Context, spec node.Spec) (_ string, err error) {
	if err := b.unload(); err != nil {
		return "", err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "mmap_lock_start_locking", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return "", fmt.Errorf("load an empty program: %w", err)
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return "", fmt.Errorf("attach an empty program: %w", err)
	}
	defer func() { err = errors.Join(err, attached.Close()) }()
	return b.output(ctx, stock(spec))
}

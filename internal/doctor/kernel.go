package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

// kernel finds out what the kernel supports: first with a minimal program of each kind, to be able
// to name what is missing, and then with shimward's own programs.
func kernel(config *policy.Config) Kernel {
	k := Kernel{Release: release(), LSMs: bpf.ActiveLSMs()}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		k.BTF = fmt.Errorf("the kernel has no BTF type information: %w", err)
	}
	k.Tracing = tracing()
	k.LSM = lsm(k.LSMs)
	if config != nil {
		k.Tier, k.Programs = loaded(config.Paths)
		k.Loaded = !errors.Is(k.Programs, fs.ErrNotExist)
	}
	switch {
	case k.Loaded:
	case k.BTF == nil && k.Tracing == nil:
		k.Tier, k.Programs = trial()
	default:
		k.Programs = nil // not tried: it is known what is missing
	}
	return k
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// tracing returns an error if the kernel lacks something that both tiers need.
func tracing() error {
	for kind, name := range map[ebpf.MapType]string{ebpf.RingBuf: "ring buffers", ebpf.TaskStorage: "task-local storage"} {
		if err := features.HaveMapType(kind); err != nil {
			return fmt.Errorf("no %s: %w", name, err)
		}
	}
	// The first tracepoint reports accesses to another process's memory; at the others a guard
	// starts and is inherited.
	for _, tracepoint := range []string{"mmap_lock_start_locking", "sched_process_exec", "task_newtask"} {
		err := attaches(&ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: tracepoint},
			func(program *ebpf.Program) (link.Link, error) {
				return link.AttachTracing(link.TracingOptions{Program: program})
			})
		if err != nil {
			return fmt.Errorf("no program at the tracepoint %s: %w", tracepoint, err)
		}
	}
	return nil
}

// lsm returns the reason why LSM programs are not called, or nil if they are. Attaching proves
// nothing: a kernel without bpf among its active modules lets them attach all the same.
func lsm(active string) error {
	err := attaches(&ebpf.ProgramSpec{Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open"},
		func(program *ebpf.Program) (link.Link, error) {
			return link.AttachLSM(link.LSMOptions{Program: program})
		})
	switch {
	case err != nil:
		return err
	case active != "" && !slices.Contains(strings.Split(active, ","), "bpf"):
		return errors.New("they attach, but are not called")
	}
	return bpf.FtraceOff()
}

// attaches loads a program that does nothing, attaches it, and detaches it again.
func attaches(spec *ebpf.ProgramSpec, attach func(*ebpf.Program) (link.Link, error)) (err error) {
	spec.Name, spec.License = "shimward_doctor", "Dual BSD/GPL"
	spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return brief(err)
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	attached, err := attach(program)
	if err != nil {
		return brief(err)
	}
	return attached.Close()
}

// brief shortens a multi-line error of the kernel to one line.
func brief(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return fmt.Errorf("the kernel refuses it: %w", verifier.Cause)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the kernel refuses it: %w", unix.EPERM)
	}
	return err
}

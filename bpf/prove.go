package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/shimward/shimward/access"
)

// errNoLSM means that the kernel does not support refusals by BPF programs.
var errNoLSM = errors.New("the kernel takes no BPF LSM programs")

// takesLSM reports whether the kernel accepts a minimal LSM program. If it does not, this is the
// quickest way to find out that it will not accept shimward's.
func takesLSM() bool {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "try_lsm", Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return false
	}
	shut(program)
	return true
}

// bpfIsActive reports whether bpf is among the active security modules. It is assumed to be if the
// list is not available.
func bpfIsActive() bool {
	active := ActiveLSMs()
	return active == "" || slices.Contains(strings.Split(active, ","), "bpf")
}

// ActiveLSMs returns the kernel's comma-separated list of active security modules, or "" if it is
// not available because no securityfs is mounted.
func ActiveLSMs() string {
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(list))
}

// attachLSM attaches the LSM programs and verifies that the kernel calls them: without bpf among
// the active modules, attaching succeeds all the same.
func attachLSM(collection *ebpf.Collection, dir string) error {
	for _, name := range lsmPrograms {
		attached, err := link.AttachLSM(link.LSMOptions{Program: collection.Programs[name]})
		if err != nil {
			return fmt.Errorf("%w: attach %s: %w", errNoLSM, name, err)
		}
		err = attached.Pin(filepath.Join(dir, pinLink(name)))
		shut(attached)
		if err != nil {
			return fmt.Errorf("pin %s: %w", name, err)
		}
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return err
	}
	defer shut(mem)
	var called uint32
	if err := collection.Variables["lsm_called"].Get(&called); err != nil {
		return err
	}
	if called == 0 && bpfIsActive() {
		// Otherwise the node would lack them until the next boot, even after the sysctl is set
		// again.
		if err := checkFtrace(); err != nil {
			return err
		}
	}
	if called == 0 {
		return fmt.Errorf("%w: they attach, and are not called: boot it with bpf in lsm=", errNoLSM)
	}
	return nil
}

// proofCgroup is the id of the hierarchy's root, with which no container is ever enrolled.
const proofCgroup = 1

// prove verifies that the access sensor works on this kernel: it puts the calling thread under a
// guard, writes a byte of its own memory through procfs, and checks that the write was counted. If
// the compiler laid out the kernel's functions such that the sensor cannot recognize them on the
// stack, the node must not appear merely quiet.
func prove(collection *ebpf.Collection) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	states := collection.Maps[mapStates]
	if err := states.Put(uint64(proofCgroup), kernelState{}); err != nil {
		return err
	}
	defer func() { _ = states.Delete(uint64(proofCgroup)) }()
	try := collection.Programs[programTryGuard]
	if err := call(try, &kernelTrial{Cgroup: proofCgroup}); err != nil {
		return fmt.Errorf("put a guard on this thread: %w", err)
	}
	err := writeOwnMemory()
	err = errors.Join(err, call(try, &kernelTrial{}))
	if err != nil {
		return err
	}
	var state kernelState
	if err := states.Lookup(uint64(proofCgroup), &state); err != nil {
		return err
	}
	if state.Counts[access.VectorSelfMem][access.VerdictObserved][access.SensorAccess] == 0 {
		return errors.New("the access sensor is attached and does not see a write to /proc/self/mem: " +
			"please report this kernel; shimward cannot guard on it")
	}
	return nil
}

func writeOwnMemory() error {
	mem, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer shut(mem)
	target := new([8]byte)
	_, err = mem.WriteAt([]byte{1}, int64(uintptr(unsafe.Pointer(target)))) //nolint:gosec // an address of one's own
	runtime.KeepAlive(target)
	return err
}

package emulate

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapLow keeps a mapping within the range of 32-bit addresses.
const mapLow = unix.MAP_32BIT

// sysProcessVMReadvI386 is the number of process_vm_readv in the kernel's
// arch/x86/entry/syscalls/syscall_32.tbl.
const sysProcessVMReadvI386 = 347

// compatIovec is struct compat_iovec of linux/compat.h.
type compatIovec struct{ base, length uint32 }

func int80(trap, a1, a2, a3, a4, a5, a6 uintptr) uintptr

func processVMReadvI386(s *striker) error {
	// Both iovecs are in the shared page too, because it is below 4 GiB and the stack and the heap
	// are not.
	vectors := unsafe.Slice((*compatIovec)(unsafe.Pointer(&s.proof[pageLength/2])), 2) //nolint:gosec // within the page, and aligned
	vectors[0] = compatIovec{address32(&s.secret()[0]), secretLength}
	vectors[1] = compatIovec{uint32(s.Victim.Address), secretLength} //nolint:gosec // below 4 GiB
	// The Go runtime takes a thread in assembly for one that is busy computing, and sends it SIGURG
	// every 10 ms to preempt it. Each signal makes the kernel notify a seccomp listener again, and
	// a slow listener never catches up.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	urgent := unix.Sigset_t{}
	urgent.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil); err != nil {
		return named("block SIGURG", err)
	}
	s.at("process_vm_readv (int 0x80)")
	//nolint:gosec // what a system call takes are addresses
	got := int80(sysProcessVMReadvI386, uintptr(s.Victim.PID),
		uintptr(unsafe.Pointer(&vectors[0])), 1, uintptr(unsafe.Pointer(&vectors[1])), 1, 0)
	runtime.KeepAlive(vectors)
	if code := int32(got); code < 0 { //nolint:gosec // the i386 entry returns 32 bits
		return named("process_vm_readv (int 0x80)", unix.Errno(-code))
	}
	return nil
}

func address32(at *byte) uint32 { return uint32(uintptr(unsafe.Pointer(at))) } //nolint:gosec // mapped low

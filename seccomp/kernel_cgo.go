//go:build cgo

package seccomp

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// x32Bit marks a call through the x32 entry, whose audit architecture is x86-64's
// (__X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h).
const x32Bit = 0x40000000

// supported returns an error unless this build and kernel can serve notifications.
func supported() error {
	if level, err := libseccomp.GetAPI(); err != nil || level < 6 {
		return fmt.Errorf("this kernel's seccomp user notifications lack what shimward needs (Linux 5.7; libseccomp API level %d, 6 needed)", level)
	}
	return nil
}

// receive takes a notification that poll has reported.
func receive(fd int) (*notification, error) {
	r, err := libseccomp.NotifReceive(libseccomp.ScmpFd(fd)) //nolint:gosec // a descriptor
	if err != nil {
		return nil, err //nolint:wrapcheck // an errno that the caller branches on
	}
	arch, audit := r.Data.Arch, uint32(0)
	if arch == libseccomp.ArchAMD64 && r.Data.Syscall&x32Bit != 0 {
		arch = libseccomp.ArchX32
	}
	name, err := r.Data.Syscall.GetNameByArch(arch)
	if err != nil {
		name = ""
	}
	n := &notification{ID: r.ID, TID: int(r.Pid), Syscall: name}
	switch arch {
	case libseccomp.ArchAMD64:
		n.Arch, audit = specs.ArchX86_64, unix.AUDIT_ARCH_X86_64
	case libseccomp.ArchX32:
		n.Arch, audit = specs.ArchX32, unix.AUDIT_ARCH_X86_64
	case libseccomp.ArchX86:
		n.Arch, audit = specs.ArchX86, unix.AUDIT_ARCH_I386
	case libseccomp.ArchARM64:
		n.Arch, audit = specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64
	case libseccomp.ArchARM:
		n.Arch, audit = specs.ArchARM, unix.AUDIT_ARCH_ARM
	}
	n.Data = data{Number: uint32(r.Data.Syscall), Audit: audit, IP: r.Data.InstrPointer} //nolint:gosec // the same 32 bits
	copy(n.Data.Args[:], r.Data.Args)
	return n, nil
}

// idValid reports whether the caller still waits, so that its pid is still its own.
func idValid(fd int, id uint64) bool {
	return libseccomp.NotifIDValid(libseccomp.ScmpFd(fd), id) == nil //nolint:gosec // a descriptor
}

// respond answers the notification, which wakes the caller.
func respond(fd int, id uint64, r response) error {
	answer := &libseccomp.ScmpNotifResp{ID: id}
	if r.carryOn {
		answer.Flags = libseccomp.NotifRespFlagContinue
	} else {
		answer.Error = int32(r.errno) //nolint:gosec // an errno
	}
	return libseccomp.NotifRespond(libseccomp.ScmpFd(fd), answer) //nolint:gosec,wrapcheck // a descriptor; an errno that the caller branches on
}

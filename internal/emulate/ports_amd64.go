package emulate

import "golang.org/x/sys/unix"

// diagnosticPort is the port where firmware writes its progress codes; nothing reads it.
const diagnosticPort = 0x80

// ioperm requests access to a harmless port, and does not use it.
func ioperm(s *striker) error {
	s.at("ioperm")
	_, _, errno := unix.Syscall(unix.SYS_IOPERM, diagnosticPort, 1, 1)
	return result("ioperm", errno)
}

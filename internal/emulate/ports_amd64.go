package emulate

import "golang.org/x/sys/unix"

// diagnosticPort is where firmware says how far it came; nothing reads it.
const diagnosticPort = 0x80

// ioperm gets at a port that does no harm, and uses it for nothing.
func ioperm(s *striker) error {
	s.at("ioperm")
	_, _, errno := unix.Syscall(unix.SYS_IOPERM, diagnosticPort, 1, 1)
	return result("ioperm", errno)
}

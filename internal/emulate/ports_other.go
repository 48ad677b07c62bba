//go:build !amd64

package emulate

// ioperm exists on x86 only: other architectures have no I/O ports and no such system call.
func ioperm(*striker) error { return errUnsupported }

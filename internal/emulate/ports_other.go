//go:build !amd64

package emulate

// ioperm is x86's alone: other architectures have no ports, and no system call of that name.
func ioperm(*striker) error { return errUnsupported }

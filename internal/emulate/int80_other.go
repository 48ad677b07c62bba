//go:build !amd64

package emulate

// mapLow has no effect here: only i386 system calls need low addresses.
const mapLow = 0

// processVMReadvI386 exists on x86 only, which alone has the instruction int 0x80.
func processVMReadvI386(*striker) error { return errUnsupported }

//go:build !amd64

package emulate

// mapLow has no effect here: only i386 system calls need low addresses.
const mapLow = 0

// int 0x80 exists on x86 only.
func processVMReadvI386(*striker) error  { return errUnsupported }
func processVMWritevI386(*striker) error { return errUnsupported }

//go:build !amd64

package emulate

// mapLow has no effect here: only i386 system calls need low addresses.
const mapLow = 0

// These are x86's alone: int 0x80 is an instruction of its.
func processVMReadvI386(*striker) error  { return errUnsupported }
func processVMWritevI386(*striker) error { return errUnsupported }

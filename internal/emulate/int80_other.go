//go:build !amd64

package emulate

// mapLow has no meaning here: only i386 system calls need low addresses.
const mapLow = 0

func processVMReadvI386(*striker) error { return errUnsupported }

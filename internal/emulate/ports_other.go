//go:build !amd64

package emulate

func ioperm(*striker) error { return errUnsupported }

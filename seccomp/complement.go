package seccomp

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// requestMask is the part of ptrace's request that is compared. The kernel takes
// the request as a long on a 64-bit entry (a value with garbage above bit 31 is
// no request there) and as 32 bits on a 32-bit one. libseccomp likewise compares
// 32 bits on x86, x32 and arm. To compare the low half everywhere is right on
// both: at worst a meaningless call is notified.
const requestMask = 1<<32 - 1

// isRequest is the condition that ptrace's request is this one.
func isRequest(request uint32) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: 0, Op: specs.OpMaskedEqual, Value: requestMask, ValueTwo: uint64(request)}
}

// complement covers all 32-bit values but those given with disjoint conditions
// on ptrace's request: each is a prefix, that is, some high bits with a value.
// Disjoint, because libseccomp defines no order between rules that overlap.
func complement(except []uint32) []specs.LinuxSeccompArg {
	var conditions []specs.LinuxSeccompArg
	// descend into the subtree of the values whose bits above `below` are as in prefix.
	var descend func(prefix uint32, below int)
	descend = func(prefix uint32, below int) {
		mask := uint32(requestMask << below & requestMask)
		inside := false
		for _, value := range except {
			inside = inside || value&mask == prefix
		}
		switch {
		case !inside:
			conditions = append(conditions, specs.LinuxSeccompArg{
				Index: 0, Op: specs.OpMaskedEqual, Value: uint64(mask), ValueTwo: uint64(prefix),
			})
		case below > 0:
			descend(prefix, below-1)
			descend(prefix|1<<(below-1), below-1)
		}
	}
	descend(0, 32)
	return conditions
}

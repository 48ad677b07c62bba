package seccomp

import (
	"math/bits"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// requestMask is the part of an argument that is compared. The kernel takes
// ptrace's request as a long on a 64-bit entry (a value with garbage above bit 31
// is no request there) and as 32 bits on a 32-bit one; a resource of prlimit64 and
// a command of bpf are 32 bits on all. libseccomp likewise compares 32 bits on x86,
// x32 and arm. To compare the low half everywhere is right on all of them: at worst
// a meaningless call is notified.
const requestMask = 1<<32 - 1

// conditions are that the argument is one of the values.
func (s selector) conditions() []specs.LinuxSeccompArg {
	list := make([]specs.LinuxSeccompArg, 0, len(s.values))
	for _, value := range s.values {
		list = append(list, specs.LinuxSeccompArg{Index: s.index, Op: specs.OpMaskedEqual, Value: requestMask, ValueTwo: uint64(value)})
	}
	return list
}

// complement covers all other values of the spans with disjoint conditions: each is
// a prefix, that is, some high bits with a value. Disjoint, because libseccomp
// defines no order between rules that overlap. The runtime compiles them at every
// start of a container, and to name all 32 bits takes four times as many.
func (s selector) complement(within ...span) []specs.LinuxSeccompArg {
	var conditions []specs.LinuxSeccompArg
	// descend into the subtree of the values whose bits above `below` are as in prefix.
	var descend func(prefix uint32, below int)
	descend = func(prefix uint32, below int) {
		mask := uint32(requestMask << below & requestMask)
		inside := false
		for _, value := range s.values {
			inside = inside || value&mask == prefix
		}
		switch {
		case !inside:
			conditions = append(conditions, specs.LinuxSeccompArg{
				Index: s.index, Op: specs.OpMaskedEqual, Value: uint64(mask), ValueTwo: uint64(prefix),
			})
		case below > 0:
			descend(prefix, below-1)
			descend(prefix|1<<(below-1), below-1)
		}
	}
	for _, one := range within {
		descend(one.first, bits.Len32(one.size-1))
	}
	return conditions
}

package seccomp

import (
	"math/bits"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// requestMask is the part of an argument that is compared. The kernel takes
// ptrace's request as a long on a 64-bit entry (a value with garbage above bit 31
// is no request there) and as 32 bits on a 32-bit one; a pid of prlimit64 and
// a command of bpf are 32 bits on all. libseccomp likewise compares 32 bits on x86,
// x32 and arm. To compare the low half everywhere is right on all of them, and so is
// to compare with one value, all of it, where the other values are watched: at worst
// a meaningless call is notified.
const requestMask = 1<<32 - 1

// cube is the values whose bits in mask are as in bits.
type cube struct{ mask, bits uint32 }

func (c cube) has(value uint32) bool { return value&c.mask == c.bits }

// with is the half of c in which a bit, undecided until then, is as in value.
func (c cube) with(bit, value uint32) cube { return cube{c.mask | bit, c.bits | value&bit} }

// common is how many values c has in common with a span.
func (c cube) common(one span) uint64 {
	mask := -one.size // its values are a cube: the size divides the first
	if (c.bits^one.first)&c.mask&mask != 0 {
		return 0
	}
	return 1 << bits.OnesCount32(^(c.mask | mask))
}

func (c cube) condition(index uint) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: uint64(c.mask), ValueTwo: uint64(c.bits)}
}

// conditions are that the argument is one that is notified: disjoint ones, see complement.
func (s selector) conditions() []specs.LinuxSeccompArg {
	if s.others {
		return []specs.LinuxSeccompArg{{Index: s.index, Op: specs.OpNotEqual, Value: uint64(s.values[0])}}
	}
	var cubes []cube
	for _, value := range s.values {
		one := cube{requestMask, value}
		// Two that differ in a single bit are one that has it undecided.
		for i := 0; i < len(cubes); i++ {
			if differ := cubes[i].bits ^ one.bits; cubes[i].mask == one.mask && bits.OnesCount32(differ) == 1 {
				one = cube{one.mask &^ differ, one.bits &^ differ}
				cubes = slices.Delete(cubes, i, i+1)
				i = -1
			}
		}
		cubes = append(cubes, one)
	}
	list := make([]specs.LinuxSeccompArg, 0, len(cubes))
	for _, one := range cubes {
		list = append(list, one.condition(s.index))
	}
	return list
}

// complement covers all other values of the spans, and may cover what is in none of
// them, with disjoint conditions. Disjoint, because libseccomp defines no order
// between rules that overlap; few, because the runtime compiles them at every start
// of a container, for each architecture.
func (s selector) complement(within ...span) []specs.LinuxSeccompArg {
	if s.others {
		return []specs.LinuxSeccompArg{{Index: s.index, Op: specs.OpEqualTo, Value: uint64(s.values[0])}}
	}
	var list []specs.LinuxSeccompArg
	var cover func(c cube)
	cover = func(c cube) {
		watched := slices.DeleteFunc(slices.Clone(s.values), func(value uint32) bool { return !c.has(value) })
		switch count(c, within) {
		case uint64(len(watched)): // no others
			return
		case 0:
			return
		}
		if len(watched) == 0 {
			list = append(list, c.condition(s.index))
			return
		}
		bit := choose(c, watched, within)
		cover(c.with(bit, ^watched[0]))
		cover(c.with(bit, watched[0]))
	}
	cover(cube{})
	return list
}

// choose is the bit that decides most: all the watched values agree in it, and of
// the others as many as can be do not. Where they agree in none, it parts them.
func choose(c cube, watched []uint32, within []span) uint32 {
	var best, parts uint32
	var most uint64
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if c.mask&bit != 0 {
			continue
		}
		if slices.ContainsFunc(watched, func(value uint32) bool { return (value^watched[0])&bit != 0 }) {
			parts = max(parts, bit)
		} else if n := count(c.with(bit, ^watched[0]), within); n > most {
			best, most = bit, n
		}
	}
	if best == 0 {
		return parts
	}
	return best
}

func count(c cube, within []span) (n uint64) {
	for _, one := range within {
		n += c.common(one)
	}
	return n
}

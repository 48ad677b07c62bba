package seccomp

import (
	"math/bits"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// requestMask selects the part of an argument that is compared. The kernel reads ptrace's request
// as a long on a 64-bit entry (there, a value with garbage above bit 31 is not a request) and as 32
// bits on a 32-bit one; prlimit64's pid and bpf's command are 32 bits on all. libseccomp likewise
// compares 32 bits on x86, x32 and arm. Comparing the low half is correct on all of them. So is
// comparing with all of one value if every other value is watched: at worst a meaningless call is
// notified.
const requestMask = 1<<32 - 1

// cube is the set of values whose bits in mask equal bits.
type cube struct{ mask, bits uint32 }

func (c cube) has(value uint32) bool { return value&c.mask == c.bits }

// with returns the half of c in which a bit that was free is fixed to its state in value.
func (c cube) with(bit, value uint32) cube { return cube{c.mask | bit, c.bits | value&bit} }

// common returns the number of values that c has in common with a span.
func (c cube) common(one span) uint64 {
	mask := -one.size // the span's values form a cube, since size divides first
	if (c.bits^one.first)&c.mask&mask != 0 {
		return 0
	}
	return 1 << bits.OnesCount32(^(c.mask | mask))
}

func (c cube) condition(index uint) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: uint64(c.mask), ValueTwo: uint64(c.bits)}
}

// conditions returns disjoint conditions that match when the argument selects a call to be
// notified; see complement.
func (s selector) conditions() []specs.LinuxSeccompArg {
	if s.others {
		return []specs.LinuxSeccompArg{{Index: s.index, Op: specs.OpNotEqual, Value: uint64(s.values[0])}}
	}
	var cubes []cube
	for _, value := range s.values {
		one := cube{requestMask, value}
		// Two cubes that differ in a single bit merge into one in which that bit is free.
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

// complement returns disjoint conditions that cover all other values of the spans, and possibly
// values outside them. Disjoint, because libseccomp defines no order between overlapping rules;
// few, because the runtime compiles them for each architecture whenever a container starts.
func (s selector) complement(within ...span) []specs.LinuxSeccompArg {
	if s.others {
		return []specs.LinuxSeccompArg{{Index: s.index, Op: specs.OpEqualTo, Value: uint64(s.values[0])}}
	}
	var list []specs.LinuxSeccompArg
	var cover func(c cube)
	cover = func(c cube) {
		watched := slices.DeleteFunc(slices.Clone(s.values), func(value uint32) bool { return !c.has(value) })
		switch count(c, within) {
		case uint64(len(watched)): // no other values
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

// choose returns the bit by which to split c: one in which all watched values agree and as many of
// the others as possible differ from them or, if the watched values agree in none, one that
// separates them.
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

//go:build cgo

package seccomp

import (
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestMergeProperty checks that Merge makes no profile weaker.
func TestMergeProperty(t *testing.T) {
	rounds := 1500
	if testing.Short() {
		rounds = 200
	}
	merges := 0
	for seed := range uint64(rounds) {
		if holds(t, rand.New(rand.NewPCG(seed, 1))) {
			merges++
		}
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
	t.Logf("%d of %d profiles were merged", merges, rounds)
	if merges < rounds/3 {
		t.Error("most profiles are refused: this shows little")
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("seed"))
	f.Fuzz(func(t *testing.T, entropy []byte) {
		holds(t, rand.New(&source{entropy, rand.NewPCG(1, 2)}))
	})
}

// source uses the fuzzer's bytes as the choices by which a profile is generated. When they run out,
// it continues with generated numbers, as rand loops until it gets one that is not zero.
type source struct {
	left []byte
	rest *rand.PCG
}

func (s *source) Uint64() uint64 {
	var next [8]byte
	n := copy(next[:], s.left)
	s.left = s.left[n:]
	if n < len(next) {
		return s.rest.Uint64()
	}
	return binary.LittleEndian.Uint64(next[:])
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// constant returns a number that a profile may compare with, or a register may have.
func constant(r *rand.Rand) uint64 {
	n := pick(r, 0, 1, 2, 4, 15, 16, 17, 0x4200, 0x4205, 0x4206, 0x4207, 0xff, 0x7fffffff, 0xffffffff, r.Uint64(), uint64(r.IntN(64)))
	if r.IntN(4) == 0 {
		n |= 1 << (32 + r.IntN(32))
	}
	return n
}

func generate(r *rand.Rand) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActAllow, specs.ActAllow, specs.ActErrno, specs.ActErrno, specs.ActLog,
		specs.ActKill, specs.ActKillProcess, specs.ActTrap, specs.ActTrace,
	}
	errno := func() *uint {
		if r.IntN(2) == 0 {
			return nil
		}
		return ptr(uint(r.IntN(200)))
	}
	profile := &specs.LinuxSeccomp{
		DefaultAction: pick(r, actions...), DefaultErrnoRet: errno(),
		Architectures: amd64[:r.IntN(len(amd64)+1)],
	}
	for range r.IntN(7) {
		entry := specs.LinuxSyscall{Action: pick(r, actions...), ErrnoRet: errno()}
		for range 1 + r.IntN(3) {
			entry.Names = append(entry.Names, pick(r, "ptrace", "ptrace", "process_vm_readv", "kcmp", "pidfd_getfd", "process_madvise", "prlimit64", "bpf", "read", "seccomp"))
		}
		if r.IntN(2) == 0 {
			for range 1 + r.IntN(3) {
				op := pick(r, specs.OpEqualTo, specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual)
				entry.Args = append(entry.Args, arg(uint(r.IntN(3)), op, constant(r), constant(r)))
			}
		}
		profile.Syscalls = append(profile.Syscalls, entry)
	}
	return profile
}

// holds merges a generated profile and compares; it returns false if there is nothing to compare.
func holds(t *testing.T, r *rand.Rand) bool {
	t.Helper()
	profile := generate(r)
	text, err := json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	old, err := newFilter(profile)
	if err != nil {
		return false // the runtime rejects it too
	}
	merged, left, err := Merge(profile, options())
	if err != nil {
		if !strings.Contains(err.Error(), "change the action") && !strings.Contains(err.Error(), "whose mask leaves out") &&
			!strings.Contains(err.Error(), "cannot add its own") {
			t.Errorf("%v, of %s", err, text)
		}
		return false
	}
	fresh, err := newFilter(merged)
	if err != nil {
		t.Errorf("the runtime does not take what became of %s: %v", text, err)
		return false
	}
	own, err := newResidue(left)
	if err != nil {
		t.Error(err)
		return false
	}
	const retTrace uint32 = 0x7ff00000
	listens := merged.ListenerPath != ""
	for _, e := range entries {
		for range 30 {
			d := e.data(t, "seccomp", constant(r), constant(r), constant(r))
			was, is := mustRun(t, old, d), mustRun(t, fresh, d)
			more := listens && d.Args[flagsIndex]&newListener != 0
			if !more && was != is || more && (is == retAllow || is == retLog || is&retActionMask == retTrace) {
				t.Errorf("%s seccomp%#x: was %#x, is %#x\nprofile %s", e.arch, d.Args, was, is, text)
				return false
			}
		}
		for _, call := range append(calls[:], watched{name: "read"}) {
			for range 30 {
				d := e.data(t, call.name, constant(r), constant(r), constant(r))
				was, is := mustRun(t, old, d), mustRun(t, fresh, d)
				if call.vector == 0 && was == is {
					continue
				}
				if problem := judge(call, d, was, is, own); problem != "" && problem != beginsNothing {
					t.Errorf("%s %s%#x: was %#x, is %#x: %s\nprofile %s", e.arch, call.name, d.Args, was, is, problem, text)
					return false
				}
			}
		}
	}
	return true
}

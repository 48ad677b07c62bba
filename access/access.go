// Package access defines shimward's vocabulary: through which door another process's memory was
// reached, what for, what the target is to the actor, which sensor saw it, and the outcome. Every
// other package uses it; it imports none of them.
//
// The numeric values are part of the kernel interface: bpf/include/access.h has the same ones, and
// a test in package bpf checks that the two agree.
package access

import (
	"encoding"
	"fmt"
	"slices"
	"strings"
)

// Vector is a way to reach memory.
type Vector uint8

// The vectors. Each is named after the system call or file that is used.
const (
	VectorUnknown         Vector = iota // memory was touched through a door that has no name here
	VectorProcMem                       // /proc/<pid>/mem and /proc/<pid>/task/<tid>/mem, by any path
	VectorSelfMem                       // the process's own /proc/self/mem, opened or used for writing
	VectorProcessVMReadv                // process_vm_readv(2)
	VectorProcessVMWritev               // process_vm_writev(2)
	VectorPtrace                        // ptrace(2)
	VectorPidfdGetfd                    // pidfd_getfd(2)
	VectorProcessMadvise                // process_madvise(2)
	VectorKcmp                          // kcmp(2)
	VectorProcessMrelease               // process_mrelease(2)
	VectorMovePages                     // move_pages(2), migrate_pages(2)
	VectorPerfEvent                     // perf_event_open(2) on another task, or on all tasks
	VectorCoreLimit                     // prlimit(2) of another process's RLIMIT_CORE, or its coredump_filter: they decide what a provoked crash dumps
	VectorBPF                           // bpf(2): loading programs, which can read any memory, and access to what others loaded
	VectorProcFD                        // /proc/<pid>/fd/<n> of a file that holds memory: a memfd, shared memory
	VectorMapFiles                      // /proc/<pid>/map_files/<range> of such a file
	VectorKernelMem                     // /proc/kcore, /dev/mem, /dev/kmem, /dev/port, /dev/snapshot
	VectorRecon                         // what procfs and get_robust_list(2) reveal about a process's memory other than its content: see bpf/include/windows.h
	VectorUserfaultfd                   // another process's userfaultfd, received over a socket: its holder can fill that process's absent pages
	VectorCoreDump                      // a signal, or a limit, that makes a process of another container dump core
	VectorCorePattern                   // the node's sysctl kernel.core_pattern, opened for writing: it decides who receives the memory of crashed processes
	VectorFtraceEnabled                 // the node's sysctl kernel.ftrace_enabled, opened for writing: turning it off stops LSM programs from being called
	VectorTracefs                       // uprobe_events, filter and similar files in tracefs, opened for writing: they copy or compare the memory of any process
	VectorSwap                          // a device or file that the node swaps to: it holds memory of any process
	VectorSwapon                        // swapon(2): others' memory is moved to a device of the caller's choice
	VectorIoperm                        // ioperm(2), iopl(2): I/O ports of the node's devices, which can reach all memory
	vectorEnd
)

// Vectors is the number of vectors, including VectorUnknown.
const Vectors = int(vectorEnd)

// Operation is what an access does to the memory.
type Operation uint8

// The operations, weakest first. An event that several accesses were folded into has the strongest
// of their operations.
const (
	OperationInspect Operation = iota + 1 // learns something about the memory, or influences its paging
	OperationRead
	OperationAttach // takes control of the process, or obtains a handle to it
	OperationWrite
)

// Relation is what the target is to the actor.
type Relation uint8

// The relations, nearest first.
const (
	RelationSelf           Relation = iota + 1 // the same address space or thread group
	RelationChild                              // a descendant in the same container
	RelationSameContainer                      // any other process of the same container
	RelationSamePod                            // a process of another container of the pod
	RelationOtherContainer                     // a process of a container of another pod
	RelationHost                               // a process in no container
	RelationKernel                             // no process: a window onto the memory of the whole node
	relationEnd
)

// Relations is one more than the highest Relation, for sizing tables indexed by Relation.
const Relations = int(relationEnd)

// Verdict is the outcome of an access.
type Verdict uint8

// The verdicts.
const (
	VerdictObserved Verdict = iota + 1 // it was allowed, and recorded
	VerdictRefused                     // the system call failed with an errno
	VerdictKilled                      // the actor was sent SIGKILL before a byte was transferred
	verdictEnd
)

// Verdicts is one more than the highest Verdict.
const Verdicts = int(verdictEnd)

// Sensor is the mechanism that saw an access.
type Sensor uint8

// The sensors.
const (
	SensorAccess  Sensor = iota + 1 // tp_btf/mmap_lock_start_locking: the touch itself
	SensorLSM                       // a BPF LSM hook: the opening of the door
	SensorSeccomp                   // a seccomp user notification: the attempt
	sensorEnd
)

// Sensors is one more than the highest Sensor.
const Sensors = int(sensorEnd)

// Tier is what a node's kernel allows shimward to do.
type Tier uint8

// The tiers.
const (
	TierTracepoint Tier = iota + 1 // LSM programs do not load: seccomp refuses, and the access sensor kills
	TierLSM                        // LSM programs load: accesses are refused with an errno
)

var (
	vectorNames = [...]string{
		"unknown", "proc_mem", "self_mem", "process_vm_readv", "process_vm_writev",
		"ptrace", "pidfd_getfd", "process_madvise", "kcmp", "process_mrelease", "move_pages", "perf_event",
		"core_limit", "bpf", "proc_fd", "map_files", "kernel_mem", "recon", "userfaultfd", "core_dump",
		"core_pattern", "ftrace_enabled", "tracefs", "swap", "swapon", "ioperm",
	}
	operationNames = [...]string{"", "inspect", "read", "attach", "write"}
	relationNames  = [...]string{"", "self", "child", "same-container", "same-pod", "other-container", "host", "kernel"}
	verdictNames   = [...]string{"", "observed", "refused", "killed"}
	sensorNames    = [...]string{"", "access", "lsm", "seccomp"}
	tierNames      = [...]string{"", "tracepoint", "lsm"}
)

// Technique returns the ID of the MITRE ATT&CK technique that an access through v belongs to.
func (v Vector) Technique() string {
	switch v {
	case VectorPtrace, VectorPidfdGetfd, VectorKcmp, VectorPerfEvent:
		return "T1055.008"
	case VectorCoreLimit, VectorCoreDump, VectorProcFD, VectorMapFiles, VectorRecon:
		return "T1003.007"
	case VectorBPF, VectorKernelMem, VectorCorePattern, VectorTracefs, VectorSwap, VectorSwapon, VectorIoperm:
		return "T1611"
	case VectorFtraceEnabled:
		return "T1562.001"
	default:
		return "T1055.009"
	}
}

// OfNode reports whether v targets the node itself rather than a process.
func (v Vector) OfNode() bool {
	switch v {
	case VectorBPF, VectorKernelMem, VectorCorePattern, VectorFtraceEnabled, VectorTracefs, VectorSwap, VectorSwapon, VectorIoperm:
		return true
	default:
		return false
	}
}

// Door is the kind of interface that a vector goes through; it determines which sensors can see it.
type Door uint8

// The doors.
const (
	DoorMemory Door = iota + 1 // a file that is a process's memory: using it takes that memory's lock
	DoorCall                   // a system call whose registers identify its target
	DoorFile                   // a file that is opened by path or received, and whose use takes no process's memory lock
	DoorSignal                 // a signal: no register says what its receiver will do with it
)

// Door returns the kind of door that v goes through.
func (v Vector) Door() Door {
	switch v {
	case VectorUnknown, VectorProcMem, VectorSelfMem:
		return DoorMemory
	case VectorProcFD, VectorMapFiles, VectorKernelMem, VectorRecon, VectorUserfaultfd, VectorCorePattern, VectorFtraceEnabled, VectorTracefs, VectorSwap:
		return DoorFile
	case VectorCoreDump:
		return DoorSignal
	default:
		return DoorCall
	}
}

// SeenIn reports whether any sensor of that tier sees v. Without LSM programs, nothing reports that
// a file is opened or what a signal does.
func (v Vector) SeenIn(tier Tier) bool {
	return tier != TierTracepoint || v.Door() == DoorMemory || v.Door() == DoorCall
}

func (v Vector) String() string    { return name(vectorNames[:], uint8(v)) }
func (o Operation) String() string { return name(operationNames[:], uint8(o)) }
func (r Relation) String() string  { return name(relationNames[:], uint8(r)) }
func (v Verdict) String() string   { return name(verdictNames[:], uint8(v)) }
func (s Sensor) String() string    { return name(sensorNames[:], uint8(s)) }
func (t Tier) String() string      { return name(tierNames[:], uint8(t)) }

// MarshalText encodes v as its name, for JSON and TOML.
func (v Vector) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalText encodes o as its name, for JSON and TOML.
func (o Operation) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText encodes r as its name, for JSON and TOML.
func (r Relation) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText encodes v as its name, for JSON and TOML.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalText encodes s as its name, for JSON and TOML.
func (s Sensor) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText encodes t as its name, for JSON and TOML.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is the inverse of MarshalText; an unknown name is an error.
func (v *Vector) UnmarshalText(text []byte) error {
	return parse(vectorNames[:], "vector", text, v)
}

// UnmarshalText is the inverse of MarshalText; an unknown name is an error.
func (o *Operation) UnmarshalText(text []byte) error {
	return parse(operationNames[:], "operation", text, o)
}

// UnmarshalText is the inverse of MarshalText; an unknown name is an error.
func (r *Relation) UnmarshalText(text []byte) error {
	return parse(relationNames[:], "relation", text, r)
}

// UnmarshalText is the inverse of MarshalText; an unknown name is an error.
func (v *Verdict) UnmarshalText(text []byte) error {
	return parse(verdictNames[:], "verdict", text, v)
}

// UnmarshalText is the inverse of MarshalText; an unknown name is an error.
func (s *Sensor) UnmarshalText(text []byte) error {
	return parse(sensorNames[:], "sensor", text, s)
}

// UnmarshalText is the inverse of MarshalText; an unknown name is an error.
func (t *Tier) UnmarshalText(text []byte) error {
	return parse(tierNames[:], "tier", text, t)
}

var (
	_ encoding.TextMarshaler   = Vector(0)
	_ encoding.TextUnmarshaler = (*Vector)(nil)
)

func name(names []string, value uint8) string {
	if int(value) >= len(names) {
		return fmt.Sprintf("unknown(%d)", value)
	}
	return names[value]
}

func parse[T ~uint8](names []string, what string, text []byte, into *T) error {
	for value, name := range names {
		if name != "" && name == string(text) {
			*into = T(value)
			return nil
		}
	}
	known := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
	return fmt.Errorf("unknown %s %.64q: known are %s", what, text, strings.Join(known, ", "))
}

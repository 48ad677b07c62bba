package seccomp

import (
	"slices"

	"github.com/shimward/shimward/access"
)

// argument says how a system call identifies the process that it targets.
type argument uint8

const (
	argumentPID      argument = iota + 1 // arg 0 is a pid or tid in the caller's pid namespace
	argumentPIDFD                        // arg 0 is a pidfd of the caller
	argumentTwo                          // args 0 and 1 are pids
	argumentTrace                        // arg 0 is a ptrace(2) request, arg 1 a pid
	argumentOwnOrPID                     // arg 0 is a pid or tid, with 0 for the caller
	argumentLimit                        // the same, with the resource in arg 1 and a pointer to its new limit in arg 2, or NULL
	argumentPerf                         // arg 1 is a pid or tid, with 0 for the caller and -1 for all; arg 4 has flags
	argumentKernel                       // no target process
	argumentRing                         // no target yet: a ring goes on working for a caller that takes no signal any more
)

// watched is a system call for which the rules notify.
type watched struct {
	name      string // libseccomp's name for it, on every architecture
	vector    access.Vector
	operation access.Operation
	argument  argument
	takes     uint64 // for a call without a target process: capabilities of which the kernel requires at least one
	selects   selector
	concern   selector // those of the selected calls that concern memory
}

// selector says which calls of a name are notified, by the low half of one argument; the zero
// selector selects all of them.
type selector struct {
	index  uint
	values []uint32 // in ascending order
	known  []span   // the values that have a meaning to a kernel, or may get one
	others bool     // inverts: calls with any value but the one are notified
}

// span is a range of size values starting at first. The size is a power of two that divides first;
// the zero span contains every value.
type span struct{ first, size uint32 }

// means reports whether a kernel may know value as this argument.
func (s selector) means(value uint32) bool {
	return s.others || slices.ContainsFunc(s.known, func(known span) bool { return value-known.first < known.size })
}

func (s selector) all() bool { return len(s.values) == 0 }

// meets reports whether a call with these registers is notified.
func (s selector) meets(args [6]uint64) bool {
	return s.all() || slices.Contains(s.values, uint32(args[s.index]&requestMask)) != s.others
}

// concerns reports whether a call is about another process's memory, as far as registers tell.
func (w watched) concerns(args [6]uint64) bool {
	if !w.selects.meets(args) || !w.concern.meets(args) {
		return false
	}
	switch w.argument {
	case argumentOwnOrPID:
		return descriptor(args[0]) != 0
	case argumentLimit:
		return descriptor(args[0]) != 0 && args[2] != 0 // otherwise it only queries the limit
	case argumentPerf:
		return descriptor(args[1]) != 0 || args[4]&perfFlagPIDCgroup != 0
	default:
		return true
	}
}

// calls are the system calls for which the rules notify.
var calls = [...]watched{
	{name: "process_vm_readv", vector: access.VectorProcessVMReadv, operation: access.OperationRead, argument: argumentPID},
	{name: "process_vm_writev", vector: access.VectorProcessVMWritev, operation: access.OperationWrite, argument: argumentPID},
	{
		name: "ptrace", vector: access.VectorPtrace, operation: access.OperationAttach, argument: argumentTrace,
		selects: selector{values: begins[:], known: []span{{0, 64}, {0x4200, 32}}},
	},
	{name: "pidfd_getfd", vector: access.VectorPidfdGetfd, operation: access.OperationAttach, argument: argumentPIDFD},
	{name: "process_madvise", vector: access.VectorProcessMadvise, operation: access.OperationInspect, argument: argumentPIDFD},
	{name: "kcmp", vector: access.VectorKcmp, operation: access.OperationInspect, argument: argumentTwo},
	{name: "process_mrelease", vector: access.VectorProcessMrelease, operation: access.OperationInspect, argument: argumentPIDFD},
	{name: "move_pages", vector: access.VectorMovePages, operation: access.OperationInspect, argument: argumentOwnOrPID},
	{name: "migrate_pages", vector: access.VectorMovePages, operation: access.OperationInspect, argument: argumentOwnOrPID},
	{name: "perf_event_open", vector: access.VectorPerfEvent, operation: access.OperationRead, argument: argumentPerf},
	{
		name: "prlimit64", vector: access.VectorCoreLimit, operation: access.OperationRead, argument: argumentLimit,
		// Calls that name a process are rare, and distinguishing the limits in the filter as well
		// would take three times the rules.
		selects: selector{values: []uint32{0}, others: true},
		concern: selector{index: 1, values: limits[:]},
	},
	{
		name: "bpf", vector: access.VectorBPF, operation: access.OperationAttach, argument: argumentKernel,
		takes:   capSysAdmin | capPerfmon | capBPF, // these let a program read others' memory, or give access to others' programs
		selects: selector{values: commands[:], known: []span{{0, 64}}},
	},
	{name: "swapon", vector: access.VectorSwapon, operation: access.OperationRead, argument: argumentKernel, takes: capSysAdmin},
	{name: "ioperm", vector: access.VectorIoperm, operation: access.OperationWrite, argument: argumentKernel, takes: capSysRawIO},
	{name: "io_uring_setup", vector: access.VectorProcMem, operation: access.OperationRead, argument: argumentRing},
	{name: "iopl", vector: access.VectorIoperm, operation: access.OperationWrite, argument: argumentKernel, takes: capSysRawIO},
}

// Capabilities, as bits; include/uapi/linux/capability.h.
const (
	capSysRawIO uint64 = 1 << 17
	capSysAdmin uint64 = 1 << 21
	capPerfmon  uint64 = 1 << 38
	capBPF      uint64 = 1 << 39
)

func lookup(name string) (watched, bool) {
	for _, c := range calls {
		if c.name == name {
			return c, true
		}
	}
	return watched{}, false
}

// The ptrace(2) requests that begin an access; include/uapi/linux/ptrace.h, the same on all
// architectures. The subsequent ones (PEEK, POKE, …) only work on a process to which one of these
// was allowed, and a debugger makes thousands of them.
const (
	requestTraceme uint32 = 0
	requestAttach  uint32 = 16
	requestSeize   uint32 = 0x4206
)

// begins are the requests above, in ascending order.
var begins = [...]uint32{requestTraceme, requestAttach, requestSeize}

// limits are the resources whose limits are watched: RLIMIT_CORE;
// include/uapi/asm-generic/resource.h.
var limits = [...]uint32{4}

// perfFlagPIDCgroup is PERF_FLAG_PID_CGROUP of include/uapi/linux/perf_event.h: arg 1 is a cgroup's
// descriptor.
const perfFlagPIDCgroup = 1 << 2

// The bpf(2) commands that are watched; include/uapi/linux/bpf.h. A program can read any memory
// (bpf_probe_read_user). The others obtain what someone else loaded or pinned, including shimward's
// own objects.
const (
	commandProgLoad    uint32 = 5
	commandObjGet      uint32 = 7
	commandProgGetFD   uint32 = 13
	commandMapGetFD    uint32 = 14
	commandLinkGetFD   uint32 = 30
	commandTokenCreate uint32 = 36
)

var commands = [...]uint32{commandProgLoad, commandObjGet, commandProgGetFD, commandMapGetFD, commandLinkGetFD, commandTokenCreate}

// requestOf returns the name of the requested operation, for calls that have several.
func (w watched) requestOf(args [6]uint64) string {
	switch w.name {
	case "ptrace":
		return requestName(uint32(args[0] & requestMask))
	case "bpf":
		return commandName(uint32(args[0] & requestMask))
	default:
		return ""
	}
}

func commandName(command uint32) string {
	switch command {
	case commandProgLoad:
		return "BPF_PROG_LOAD"
	case commandObjGet:
		return "BPF_OBJ_GET"
	case commandProgGetFD:
		return "BPF_PROG_GET_FD_BY_ID"
	case commandMapGetFD:
		return "BPF_MAP_GET_FD_BY_ID"
	case commandLinkGetFD:
		return "BPF_LINK_GET_FD_BY_ID"
	case commandTokenCreate:
		return "BPF_TOKEN_CREATE"
	default:
		return ""
	}
}

func requestName(request uint32) string {
	switch request {
	case requestTraceme:
		return "PTRACE_TRACEME"
	case requestAttach:
		return "PTRACE_ATTACH"
	case requestSeize:
		return "PTRACE_SEIZE"
	default:
		return ""
	}
}

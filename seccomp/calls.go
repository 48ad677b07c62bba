package seccomp

import "github.com/shimward/shimward/access"

// argument says how a system call names the process that it is about.
type argument uint8

const (
	argumentPID   argument = iota + 1 // arg 0 is a pid or tid in the caller's pid namespace
	argumentPIDFD                     // arg 0 is a pidfd of the caller
	argumentTwo                       // args 0 and 1 are pids
	argumentTrace                     // arg 0 is a request of ptrace(2), arg 1 a pid
)

// watched is a system call that the rules notify of.
type watched struct {
	name      string // as libseccomp knows it, on every architecture
	vector    access.Vector
	operation access.Operation
	argument  argument
}

// calls are the system calls that the rules notify of.
var calls = [...]watched{
	{"process_vm_readv", access.VectorProcessVMReadv, access.OperationRead, argumentPID},
	{"process_vm_writev", access.VectorProcessVMWritev, access.OperationWrite, argumentPID},
	{"ptrace", access.VectorPtrace, access.OperationAttach, argumentTrace},
	{"pidfd_getfd", access.VectorPidfdGetfd, access.OperationAttach, argumentPIDFD},
	{"process_madvise", access.VectorProcessMadvise, access.OperationInspect, argumentPIDFD},
	{"kcmp", access.VectorKcmp, access.OperationInspect, argumentTwo},
}

func lookup(name string) (watched, bool) {
	for _, c := range calls {
		if c.name == name {
			return c, true
		}
	}
	return watched{}, false
}

const ptrace = "ptrace"

// The requests of ptrace(2) that begin an access; include/uapi/linux/ptrace.h,
// the same on all architectures. Those that follow (PEEK, POKE, …) work only on a
// process that one of these was let at, and a debugger makes thousands of them.
const (
	requestTraceme uint32 = 0
	requestAttach  uint32 = 16
	requestSeize   uint32 = 0x4206
)

// begins are the requests above, in ascending order.
var begins = [...]uint32{requestTraceme, requestAttach, requestSeize}

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

package emulate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shimward/shimward/access"
)

// Goal is what an attempt tries to achieve.
type Goal string

// The goals.
const (
	GoalSecret Goal = "secret" // the victim's secret
	GoalChange Goal = "change" // a change of the target's memory
	GoalReach  Goal = "reach"  // that the kernel performs the call at all: it moves no memory
)

// Vector is one way to attack.
type Vector struct {
	Name      string           `json:"name"`
	Goal      Goal             `json:"goal"`
	Access    access.Vector    `json:"access"`    // shimward's name for the vector
	Operation access.Operation `json:"operation"` // shimward's name for the operation
	About     string           `json:"about"`
	// Follow is the access that an attempt makes once its vector got through, if that is an event of
	// its own. Its target is the attempt's.
	Follow access.Vector `json:"follow,omitempty"`
	own    bool          // targets a process of the attempt's own, whichever victim there is
	node   bool          // targets no process, but the whole node or all of its memory
	attack func(*striker) error
}

// Vectors returns all vectors, in the order in which they are tried.
func Vectors() []Vector { return slices.Concat(attacks(), recon(), tampering()) }

// Group is what several vectors can be selected by.
type Group string

// The groups.
const (
	GroupAll    Group = "all" // all that are in no other group
	GroupRecon  Group = "recon"
	GroupTamper Group = "tamper"
)

// Group returns the group that v belongs to.
func (v Vector) Group() Group {
	switch {
	case v.Access == access.VectorRecon:
		return GroupRecon
	case strings.HasPrefix(v.Name, "tamper-"):
		return GroupTamper
	default:
		return GroupAll
	}
}

// recon returns the vectors that reveal nothing of a memory's content. A profile lets them pass
// unrecorded unless it says otherwise.
func recon() []Vector {
	var vectors []Vector
	add := func(name, about string, attack func(*striker) error) {
		vectors = append(vectors, Vector{
			Name: "recon-" + name, Goal: GoalReach, Access: access.VectorRecon, Operation: access.OperationInspect, About: about, attack: attack,
		})
	}
	for _, file := range reconFiles {
		add(strings.ReplaceAll(file, "_", "-"), "read /proc/<pid>/"+file, func(s *striker) error { return s.readRecon(file) })
	}
	add("fdinfo", "read /proc/<pid>/fdinfo/<n>", readFDInfo)
	add("map-files", "list /proc/<pid>/map_files", listMapFiles)
	add("clear-refs", "write /proc/<pid>/clear_refs", clearRefs)
	add("robust-list", "get_robust_list(2)", robustList)
	return vectors
}

func attacks() []Vector {
	return []Vector{
		{
			Name: "proc-mem-read", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "read /proc/<pid>/mem", attack: procMemRead,
		},
		{
			Name: "proc-mem-write", Goal: GoalChange, Access: access.VectorProcMem, Operation: access.OperationWrite,
			About: "write /proc/<pid>/mem", attack: procMemWrite,
		},
		{
			Name: "task-mem-read", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "read /proc/<pid>/task/<tid>/mem", attack: taskMemRead,
		},
		{
			Name: "mem-openat", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "openat(2) from a descriptor of /proc/<pid>", attack: memOpenat,
		},
		{
			Name: "mem-openat2", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "openat2(2) from a descriptor of /proc/<pid>", attack: memOpenat2,
		},
		{
			Name: "mem-cwd", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "change to /proc/<pid>, then open mem", attack: memCwd,
		},
		{
			Name: "mem-root", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "open it below /proc/self/root", attack: memRoot,
		},
		{
			Name: "mem-symlink", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "open it through a symbolic link", attack: memSymlink,
		},
		{
			Name: "mem-reopened", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "open it with O_PATH, then open /proc/self/fd/<n>", attack: memReopened,
		},
		{
			Name: "mem-bind-mount", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "mount it elsewhere (needs CAP_SYS_ADMIN), and open that", attack: memBindMount,
		},
		{
			Name: "mem-second-procfs", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "mount another procfs (needs CAP_SYS_ADMIN), and open it there", attack: memSecondProcfs,
		},
		{
			Name: "mem-io-uring", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "open and read it through io_uring, without open(2) or read(2)", attack: memIOUring,
		},
		{
			Name: "mem-io-uring-ended", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "have io_uring read it when the reader ends, and takes no signal any more", attack: memIOUringEnded,
		},
		{
			Name: "mem-thread", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "open it in one thread, read it in another", attack: memThread,
		},
		{
			Name: "self-mem-write", Goal: GoalChange, Access: access.VectorSelfMem, Operation: access.OperationWrite,
			About: "write its own /proc/self/mem, as code injection without any other trace does",
			own:   true, attack: selfMemWrite,
		},
		{
			Name: "thread-self-mem-write", Goal: GoalChange, Access: access.VectorSelfMem, Operation: access.OperationWrite,
			About: "write its own /proc/thread-self/mem", own: true, attack: threadSelfMemWrite,
		},
		{
			Name: "process-vm-readv", Goal: GoalSecret, Access: access.VectorProcessVMReadv, Operation: access.OperationRead,
			About: "process_vm_readv(2)", attack: processVMReadv,
		},
		{
			Name: "process-vm-readv-i386", Goal: GoalSecret, Access: access.VectorProcessVMReadv, Operation: access.OperationRead,
			About: "process_vm_readv(2) through the i386 system call table (int 0x80)", attack: processVMReadvI386,
		},
		{
			Name: "process-vm-writev", Goal: GoalChange, Access: access.VectorProcessVMWritev, Operation: access.OperationWrite,
			About: "process_vm_writev(2)", attack: processVMWritev,
		},
		{
			Name: "process-vm-writev-i386", Goal: GoalChange, Access: access.VectorProcessVMWritev, Operation: access.OperationWrite,
			About: "process_vm_writev(2) through the i386 system call table (int 0x80)", attack: processVMWritevI386,
		},
		{
			Name: "ptrace-attach", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "PTRACE_ATTACH, then PTRACE_PEEKDATA", attack: ptraceAttach,
		},
		{
			Name: "ptrace-seize", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "PTRACE_SEIZE, PTRACE_INTERRUPT, then PTRACE_PEEKDATA", attack: ptraceSeize,
		},
		{
			Name: "ptrace-thread", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "PTRACE_ATTACH to a thread that is not the first, then PTRACE_PEEKDATA", attack: ptraceThread,
		},
		{
			Name: "ptrace-from-thread", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "PTRACE_ATTACH by a thread that is not the attacker's first, then PTRACE_PEEKDATA", attack: ptraceFromThread,
		},
		{
			Name: "ptrace-poke", Goal: GoalChange, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "PTRACE_ATTACH, then PTRACE_POKEDATA", attack: ptracePoke,
		},
		{
			Name: "ptrace-traceme", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "start a child that asks for it with PTRACE_TRACEME, as debuggers do, then PTRACE_PEEKDATA",
			own:   true, attack: ptraceTraceme,
		},
		{
			Name: "ptrace-fork", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "start such a child, have the kernel trace what it starts in turn (PTRACE_O_TRACEVFORK), and PTRACE_PEEKDATA of that",
			own:   true, attack: ptraceFork,
			Follow: access.VectorPtrace, // the kernel attaches to the child's child, which is looked into
		},
		{
			Name: "ptrace-userns", Goal: GoalSecret, Access: access.VectorPtrace, Operation: access.OperationAttach,
			About: "PTRACE_ATTACH to a child in a user namespace of its own, which gives it CAP_SYS_PTRACE there",
			own:   true, attack: ptraceUserns,
		},
		{
			Name: "pidfd-getfd", Goal: GoalSecret, Access: access.VectorPidfdGetfd, Operation: access.OperationAttach,
			About: "pidfd_getfd(2) of a memfd with the secret, then read it", attack: pidfdGetfd,
		},
		{
			Name: "pidfd-getfd-shm", Goal: GoalSecret, Access: access.VectorPidfdGetfd, Operation: access.OperationAttach,
			About: "pidfd_getfd(2) of shared memory (shm_open) with the secret, then read it", attack: pidfdGetfdShm,
		},
		{
			Name: "mem-getfd", Goal: GoalSecret, Access: access.VectorPidfdGetfd, Operation: access.OperationAttach,
			About: "pidfd_getfd(2) of its own mem file, which it has open, then read that", attack: memGetfd,
			Follow: access.VectorProcMem, // the read
		},
		{
			Name: "userfaultfd-getfd", Goal: GoalChange, Access: access.VectorPidfdGetfd, Operation: access.OperationAttach,
			About: "pidfd_getfd(2) of its userfaultfd, then fill one of its missing pages", attack: userfaultfdGetfd,
		},
		{
			Name: "process-madvise", Goal: GoalReach, Access: access.VectorProcessMadvise, Operation: access.OperationInspect,
			About: "process_madvise(2): mark the secret's page as cold (needs CAP_SYS_NICE)", attack: processMadvise,
		},
		{
			Name: "kcmp", Goal: GoalReach, Access: access.VectorKcmp, Operation: access.OperationInspect,
			About: "kcmp(2): compare its address space with the attacker's", attack: kcmp,
		},
		{
			Name: "process-mrelease", Goal: GoalReach, Access: access.VectorProcessMrelease, Operation: access.OperationInspect,
			About: "process_mrelease(2): have the kernel reclaim its memory", attack: processMrelease,
		},
		{
			Name: "move-pages", Goal: GoalReach, Access: access.VectorMovePages, Operation: access.OperationInspect,
			About: "move_pages(2): ask where its pages are (needs CAP_SYS_NICE)", attack: movePages,
		},
		{
			Name: "perf-event", Goal: GoalReach, Access: access.VectorPerfEvent, Operation: access.OperationRead,
			About: "perf_event_open(2): sample its registers and stack", attack: perfEvent,
		},
		{
			Name: "perf-event-all", Goal: GoalReach, Access: access.VectorPerfEvent, Operation: access.OperationRead,
			About: "perf_event_open(2): sample the registers and stacks of everything on the node (needs CAP_PERFMON)", node: true, attack: perfAll,
		},
		{
			Name: "core-limit", Goal: GoalReach, Access: access.VectorCoreLimit, Operation: access.OperationRead,
			About: "prlimit(2): set the maximum size of its core dumps", attack: coreLimit,
		},
		{
			Name: "core-dump", Goal: GoalSecret, Access: access.VectorCoreDump, Operation: access.OperationRead,
			About: "send SIGABRT with kill(2) to a process that has the secret, and read its core dump", attack: coreDump,
		},
		{
			Name: "core-dump-io", Goal: GoalSecret, Access: access.VectorCoreDump, Operation: access.OperationRead,
			About: "write to a pipe that then sends that SIGABRT (F_SETSIG, F_SETOWN and O_ASYNC), and read the core dump", attack: coreDumpIO,
		},
		{
			Name: "bpf-load", Goal: GoalReach, Access: access.VectorBPF, Operation: access.OperationAttach,
			About: "bpf(2): load a program of a type that can read any memory (needs CAP_BPF and CAP_PERFMON)", node: true, attack: bpfLoad,
		},
		{
			Name: "proc-fd", Goal: GoalSecret, Access: access.VectorProcFD, Operation: access.OperationAttach,
			About: "open /proc/<pid>/fd/<n> of a memfd with the secret", attack: procFD,
		},
		{
			Name: "proc-fd-shm", Goal: GoalSecret, Access: access.VectorProcFD, Operation: access.OperationAttach,
			About: "open /proc/<pid>/fd/<n> of shared memory (shm_open) with the secret", attack: procFDShm,
		},
		{
			Name: "proc-fd-reopened", Goal: GoalSecret, Access: access.VectorProcFD, Operation: access.OperationAttach,
			About: "open it with O_PATH below /proc/<pid>/task, then open /proc/self/fd/<n>", attack: procFDReopened,
		},
		{
			Name: "map-files", Goal: GoalSecret, Access: access.VectorMapFiles, Operation: access.OperationAttach,
			About: "open /proc/<pid>/map_files/<range> of that memfd (needs CAP_SYS_ADMIN)", attack: mapFiles,
		},
		{
			Name: "map-files-sysv", Goal: GoalSecret, Access: access.VectorMapFiles, Operation: access.OperationAttach,
			About: "open /proc/<pid>/map_files/<range> of a System V shared memory segment (needs CAP_SYS_ADMIN)", attack: mapFilesSysV,
		},
		{
			Name: "userfaultfd-received", Goal: GoalChange, Access: access.VectorUserfaultfd, Operation: access.OperationWrite,
			About: "receive its userfaultfd over a unix socket, like the process that fills its pages, then fill one", attack: userfaultfdReceived,
		},
		{
			Name: "kcore", Goal: GoalSecret, Access: access.VectorKernelMem, Operation: access.OperationRead,
			About: "find the page with /proc/<pid>/pagemap, and read it from /proc/kcore (needs CAP_SYS_RAWIO)", node: true, attack: kcore,
		},
		{
			Name: "dev-mem", Goal: GoalReach, Access: access.VectorKernelMem, Operation: access.OperationRead,
			About: "open /dev/mem, made anew under another name (needs CAP_SYS_RAWIO, CAP_MKNOD and the device)", node: true, attack: devMem,
		},
		{
			Name: "dev-port", Goal: GoalReach, Access: access.VectorKernelMem, Operation: access.OperationRead,
			About: "open /dev/port, likewise", node: true, attack: devPort,
		},
		{
			Name: "core-pattern", Goal: GoalReach, Access: access.VectorCorePattern, Operation: access.OperationWrite,
			About: "open the node's kernel.core_pattern for writing, which decides who gets the memory of crashing processes (in a procfs of its own: needs CAP_SYS_ADMIN)", node: true, attack: corePatternOpened,
		},
		{
			Name: "ftrace-enabled", Goal: GoalReach, Access: access.VectorFtraceEnabled, Operation: access.OperationWrite,
			About: "open the node's kernel.ftrace_enabled for writing, which decides whether LSM programs are called (in a procfs of its own: needs CAP_SYS_ADMIN)", node: true, attack: ftraceEnabledOpened,
		},
		{
			Name: "uprobe", Goal: GoalReach, Access: access.VectorTracefs, Operation: access.OperationWrite,
			About: "open uprobe_events for writing, which sets probes that copy processes' memory (in a tracefs of its own: needs CAP_SYS_ADMIN)", node: true, attack: uprobeEventsOpened,
		},
		{
			Name: "swapon", Goal: GoalReach, Access: access.VectorSwapon, Operation: access.OperationRead,
			About: "swapon(2): have the node swap memory to a device that the attacker controls (here one that does not exist; needs CAP_SYS_ADMIN)", node: true, attack: swapon,
		},
		{
			Name: "ioperm", Goal: GoalReach, Access: access.VectorIoperm, Operation: access.OperationWrite,
			About: "ioperm(2): get access to an I/O port, such as one of a device that can reach all memory (here a harmless one; needs CAP_SYS_RAWIO)", node: true, attack: ioperm,
		},
		{
			Name: "mem-inherited", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "read a mem file that was opened earlier, through an inherited descriptor", attack: memInherited,
		},
		{
			Name: "mem-scm-rights", Goal: GoalSecret, Access: access.VectorProcMem, Operation: access.OperationRead,
			About: "read a mem file that was received over a unix socket", attack: memSCMRights,
		},
	}
}

// Select returns the named vectors, in the order of Vectors. A Group stands for all of its vectors.
func Select(names []string) ([]Vector, error) {
	all := Vectors()
	var selected []Vector
	for _, vector := range all {
		if slices.Contains(names, vector.Name) || slices.Contains(names, string(vector.Group())) {
			selected = append(selected, vector)
		}
	}
	known := func(name string) bool {
		return slices.ContainsFunc(all, func(v Vector) bool { return v.Name == name || string(v.Group()) == name })
	}
	for _, name := range names {
		if !known(name) {
			return nil, fmt.Errorf("no vector is called %q: name some of %s, or %s", name, strings.Join(vectorNames(all), ", "), groups)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("no vector named: name some of %s, or %s", strings.Join(vectorNames(all), ", "), groups)
	}
	return selected, nil
}

// groups lists the groups in an error.
const groups = "all, or recon, or tamper"

func vectorNames(vectors []Vector) []string {
	names := make([]string, 0, len(vectors))
	for _, vector := range vectors {
		names = append(names, vector.Name)
	}
	return names
}

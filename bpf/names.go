package bpf

import "github.com/cilium/ebpf"

// The names of the pins. Maps are pinned under their own names.
const (
	nodePrefix = "node-"
	freshNode  = "fresh" // being loaded; renamed when complete

	mapContainers = "containers"
	mapStates     = "states"
	mapRings      = "rings"
	mapGrants     = "grants"
	mapKeys       = "keys"
	mapGuards     = "guards"
	mapTraffics   = "traffics"

	programTouch        = "touch"
	programExec         = "guard_exec"
	programFork         = "guard_fork"
	programLearnNode    = "learn_node"
	programLearnFile    = "learn_file"
	programLearnTable   = "learn_table"
	programCountSeccomp = "count_seccomp"
	programTryGuard     = "try_guard"
	programFileOpen     = "lsm_file_open"

	pinRing     = "ring"
	pinComplete = "link_" + programTouch // the access sensor, without which the node is not complete
)

// tracingPrograms are attached on every node: the guard's programs before the sensor that looks up
// guards.
var tracingPrograms = [...]string{programFork, programExec, programTouch}

// lsmPrograms are the programs that make a node's tier "lsm".
var lsmPrograms = [...]string{
	programFileOpen, "lsm_file_receive", "lsm_ptrace_access_check", "lsm_ptrace_traceme", "lsm_inode_follow_link",
	"lsm_perf_event_alloc", "lsm_task_kill", "lsm_task_setrlimit", "lsm_task_setscheduler", "lsm_task_alloc",
	"lsm_file_fcntl", "lsm_file_send_sigiotask", "lsm_file_free_security",
}

// calledPrograms are run by user space after loading.
var calledPrograms = [...]string{programLearnFile, programLearnTable, programCountSeccomp}

// flowPrograms are attached to each container's cgroup.
var flowPrograms = [...]struct {
	name string
	kind ebpf.AttachType
}{
	{"flow_connect4", ebpf.AttachCGroupInet4Connect},
	{"flow_connect6", ebpf.AttachCGroupInet6Connect},
	{"flow_sendmsg4", ebpf.AttachCGroupUDP4Sendmsg},
	{"flow_sendmsg6", ebpf.AttachCGroupUDP6Sendmsg},
	{"flow_egress", ebpf.AttachCGroupInetEgress},
	{"flow_ingress", ebpf.AttachCGroupInetIngress},
}

func pinLink(program string) string    { return "link_" + program }
func pinProgram(program string) string { return "prog_" + program }

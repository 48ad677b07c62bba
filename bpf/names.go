package bpf

// The names of what is pinned. Maps are pinned under their own names.
const (
	nodePrefix = "node-"
	freshNode  = "fresh" // being loaded; renamed when it is complete

	mapContainers = "containers"
	mapStates     = "states"
	mapRings      = "rings"
	mapGrants     = "grants"
	mapKeys       = "keys"

	programTouch        = "touch"
	programExec         = "guard_exec"
	programFork         = "guard_fork"
	programLearnNode    = "learn_node"
	programLearnFile    = "learn_file"
	programCountSeccomp = "count_seccomp"
	programFileOpen     = "lsm_file_open"

	pinRing = "ring"
	// The access sensor is attached last, so its link says that the rest is there.
	pinComplete = "link_" + programTouch
)

func pinLink(program string) string    { return "link_" + program }
func pinProgram(program string) string { return "prog_" + program }

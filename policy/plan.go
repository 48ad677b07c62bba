package policy

import "github.com/shimward/shimward/access"

// Mode is the extent to which shimward acts on a container.
type Mode string

// The modes.
const (
	ModeOff     Mode = "off"     // the container runs exactly as under runc
	ModeAudit   Mode = "audit"   // what the profile refuses is allowed, and recorded
	ModeEnforce Mode = "enforce" // what the profile refuses is refused
)

// Action is what a profile does with one kind of access.
type Action string

// The actions.
const (
	ActionObserve Action = "observe" // allowed, and recorded
	ActionRefuse  Action = "refuse"  // refused under enforce; observed under audit
)

// The actions that only the rule recon can have, besides ActionRefuse. It has no others.
const (
	ReconOff   Action = "off"   // ignored: ps, top and users of debuggers do it all day
	ReconAudit Action = "audit" // allowed, and recorded
)

// WithoutLSM is the meaning of enforce on a node whose kernel does not load LSM programs.
type WithoutLSM string

// The choices.
const (
	WithoutLSMKill   WithoutLSM = "kill"   // seccomp refuses system calls, and a process that touches memory all the same is killed
	WithoutLSMRefuse WithoutLSM = "refuse" // containers that ask for enforce are not created
	WithoutLSMAudit  WithoutLSM = "audit"  // enforce is treated as audit, and each event says so
)

// Rules are a profile's actions: one for each relation that a target can have to the actor.
type Rules struct {
	SelfMemWrite   Action `json:"self_mem_write" toml:"self_mem_write"`   // the process's own /proc/self/mem, for writing
	Child          Action `json:"child" toml:"child"`                     // a descendant in the same container
	SameContainer  Action `json:"same_container" toml:"same_container"`   // another process of the container
	SamePod        Action `json:"same_pod" toml:"same_pod"`               // a process of another container of the pod
	OtherContainer Action `json:"other_container" toml:"other_container"` // a process of another pod
	Host           Action `json:"host" toml:"host"`                       // a process in no container
	Kernel         Action `json:"kernel" toml:"kernel"`                   // no process: bpf(2), /proc/kcore, perf events on the whole node
	Recon          Action `json:"recon" toml:"recon"`                     // maps, environ and similar files: of any other process, or of this container's by another container; ReconOff, ReconAudit or ActionRefuse
	Inbound        Action `json:"inbound" toml:"inbound"`                 // an access to this container by a process of another; the host's are only ever observed
}

// Identity identifies the container that a Plan is for. Pod and the fields after it are empty
// outside Kubernetes.
type Identity struct {
	Key          string `json:"key"`                     // name of its state under Paths; see Key
	ID           string `json:"id"`                      // containerd's container ID
	Namespace    string `json:"namespace"`               // containerd's namespace
	Bundle       string `json:"bundle"`                  // absolute path of the OCI bundle
	Name         string `json:"name,omitempty"`          // the container's name in its pod
	Image        string `json:"image,omitempty"`         // as the user wrote it
	Pod          string `json:"pod,omitempty"`           // the pod's name
	PodNamespace string `json:"pod_namespace,omitempty"` // the pod's namespace
	PodUID       string `json:"pod_uid,omitempty"`
	Sandbox      string `json:"sandbox,omitempty"` // the pod sandbox's container ID: the same for all containers of a pod
}

// Plan is everything that is decided about a container before it is created. The container is enrolled
// by it, the listener answers by it, and events cite it.
type Plan struct {
	Identity   Identity   `json:"identity"`
	Mode       Mode       `json:"mode"`
	Profile    string     `json:"profile"`
	Rules      Rules      `json:"rules"`
	Rule       []Rule     `json:"rule,omitempty"` // tried before Rules
	WithoutLSM WithoutLSM `json:"without_lsm"`
	Allow      []string   `json:"allow,omitempty"`     // absolute paths in the container's root; they may access the same container
	AllowPod   []string   `json:"allow_pod,omitempty"` // the same, but they may access other containers of the pod
	// RefuseRisks are the risks that, if found in its spec, prevent the container's creation under
	// enforce.
	RefuseRisks []Risk `json:"refuse_risks,omitempty"`
	Paths       Paths  `json:"paths"`
	// Rootfs is the absolute path of the container's root file system, in which executables are
	// looked up.
	Rootfs string `json:"rootfs"`
	// Monitored says that a monitor, rather than a shim, hosts the container's listener and
	// records.
	Monitored bool `json:"monitored,omitempty"`
	// Digest is the hex SHA-256 of what decides accesses: mode, profile, rules, exceptions and so
	// on.
	Digest string `json:"digest"`
}

// IsSandbox reports whether the container is a pod's pause container.
func (i *Identity) IsSandbox() bool { return i.Sandbox != "" && i.Sandbox == i.ID }

// Decision is a Plan's answer to one access, with the name of the rule that gave it.
type Decision struct {
	Action   Action
	Rule     string         // such as "baseline.other_container"
	Severity string         // "info", "warning", "critical"
	Verdict  access.Verdict // the verdict in the Plan's mode and the node's tier, for a sensor that can refuse
	// Unenforced is the reason why the verdict is weaker than the action: "mode=audit",
	// "without_lsm=audit", or "" if it is not.
	Unenforced string
	Quiet      bool // no event is made, as for a process's ordinary use of its own memory
}

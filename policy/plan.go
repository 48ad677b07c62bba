package policy

import "github.com/shimward/shimward/access"

// Mode is how far shimward goes for a container.
type Mode string

// The modes.
const (
	ModeOff     Mode = "off"     // the container runs exactly as under runc
	ModeAudit   Mode = "audit"   // what the profile refuses is let through, and recorded
	ModeEnforce Mode = "enforce" // what the profile refuses is refused
)

// Action is what a profile says of one kind of access.
type Action string

// The actions.
const (
	ActionObserve Action = "observe" // let through, and recorded
	ActionRefuse  Action = "refuse"  // refused under enforce; observed under audit
)

// What the rule recon says; it has no other actions than these and ActionRefuse.
const (
	ReconOff   Action = "off"   // no business of shimward's: ps, top and a debugger's user do it all day
	ReconAudit Action = "audit" // let through, and recorded
)

// WithoutLSM is what enforce means on a node whose kernel takes no LSM programs.
type WithoutLSM string

// The choices.
const (
	WithoutLSMKill   WithoutLSM = "kill"   // system calls are refused by seccomp; what touches memory all the same is killed
	WithoutLSMRefuse WithoutLSM = "refuse" // containers that ask for enforce are not created
	WithoutLSMAudit  WithoutLSM = "audit"  // enforce is taken as audit, and each event says so
)

// Rules is the part of a profile that decides: one action for each relation that a target can have to the actor.
type Rules struct {
	SelfMemWrite   Action `json:"self_mem_write" toml:"self_mem_write"`   // one's own /proc/self/mem, for writing
	Child          Action `json:"child" toml:"child"`                     // a descendant in the same container
	SameContainer  Action `json:"same_container" toml:"same_container"`   // another process of the container
	SamePod        Action `json:"same_pod" toml:"same_pod"`               // a process of another container of the pod
	OtherContainer Action `json:"other_container" toml:"other_container"` // a process of another pod
	Host           Action `json:"host" toml:"host"`                       // a process in no container
	Kernel         Action `json:"kernel" toml:"kernel"`                   // no process: bpf(2), /proc/kcore, all of the node's perf events
	Recon          Action `json:"recon" toml:"recon"`                     // maps, environ and their like, of another process, whichever; ReconOff, ReconAudit or ActionRefuse
	Inbound        Action `json:"inbound" toml:"inbound"`                 // another container's process at one of this one; the host's are only ever observed
}

// Identity is whose container a Plan is for. Pod and the fields after it are empty outside Kubernetes.
type Identity struct {
	Key          string `json:"key"`                     // names its state under Paths; see Key
	ID           string `json:"id"`                      // containerd's container ID
	Namespace    string `json:"namespace"`               // containerd's namespace
	Bundle       string `json:"bundle"`                  // absolute path of the OCI bundle
	Name         string `json:"name,omitempty"`          // the container's name in its pod
	Image        string `json:"image,omitempty"`         // as the user wrote it
	Pod          string `json:"pod,omitempty"`           // the pod's name
	PodNamespace string `json:"pod_namespace,omitempty"` // the pod's namespace
	PodUID       string `json:"pod_uid,omitempty"`
	Sandbox      string `json:"sandbox,omitempty"` // the pod sandbox's container ID: equal for all containers of a pod
}

// Plan is everything that is decided about a container before it is created.
// It is what the hook enrols, what the listener answers from and what events cite.
type Plan struct {
	Identity   Identity   `json:"identity"`
	Mode       Mode       `json:"mode"`
	Profile    string     `json:"profile"`
	Rules      Rules      `json:"rules"`
	Rule       []Rule     `json:"rule,omitempty"` // what comes before Rules
	WithoutLSM WithoutLSM `json:"without_lsm"`
	Allow      []string   `json:"allow,omitempty"`     // absolute paths in the container's root; may access the same container
	AllowPod   []string   `json:"allow_pod,omitempty"` // the same, for other containers of the pod
	// RefuseRisks are the risks of its spec with which the container is not created under enforce.
	RefuseRisks []Risk `json:"refuse_risks,omitempty"`
	Paths       Paths  `json:"paths"`
	// Rootfs is the absolute path of the container's root file system, where its executables are looked up.
	Rootfs string `json:"rootfs"`
	// Monitored says that a monitor hosts the container's listener and records, and no shim.
	Monitored bool `json:"monitored,omitempty"`
	// Digest is the hex SHA-256 of what decides: mode, profile, rules, exceptions.
	Digest string `json:"digest"`
}

// IsSandbox is true of a pod's pause container.
func (i *Identity) IsSandbox() bool { return i.Sandbox != "" && i.Sandbox == i.ID }

// Decision is what a Plan says to one access, and the name of the rule that said it.
type Decision struct {
	Action   Action
	Rule     string         // such as "baseline.other_container"
	Severity string         // "info", "warning", "critical"
	Verdict  access.Verdict // what to do in the Plan's mode and the node's tier, for a sensor that can refuse
	// Unenforced is why the verdict is weaker than the action: "mode=audit", "without_lsm=audit", or "".
	Unenforced string
	Quiet      bool // a process's ordinary use of its own memory: no event
}

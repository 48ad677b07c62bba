package event

import (
	"fmt"
	"time"

	"github.com/shimward/shimward/access"
)

// Schema names the version of Event's JSON form. A field is only ever added within a version.
const Schema = "shimward.dev/event/v1"

// Kind is what an Event is about.
type Kind string

// The kinds.
const (
	KindAccess  Kind = "access"  // somebody reached for memory
	KindCreated Kind = "created" // a guarded container was created
	KindStarted Kind = "started" // its init was started
	KindExec    Kind = "exec"    // a process was started in it from outside (kubectl exec, a probe)
	KindExited  Kind = "exited"  // its init, or such a process, ended
	KindDeleted Kind = "deleted" // it is gone
	KindRisk    Kind = "risk"    // the container's spec has what leads around what shimward holds
	KindLease   Kind = "lease"   // somebody allowed an executable for a time, or took that back
	KindNotice  Kind = "notice"  // shimward has something to say about itself: records lost, a guard gone
)

// Severity orders events for whoever is woken by them.
type Severity string

// The severities, least first.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// ParseSeverity is the severity of that name.
func ParseSeverity(name string) (Severity, error) {
	if severity := Severity(name); severity.rank() >= 0 {
		return severity, nil
	}
	return "", fmt.Errorf("%.64q: write %s, %s or %s", name, SeverityInfo, SeverityWarning, SeverityCritical)
}

// Event is one line of the store.
type Event struct {
	Schema    string    `json:"schema"`
	Time      time.Time `json:"time"`
	Kind      Kind      `json:"kind"`
	Severity  Severity  `json:"severity"`
	Message   string    `json:"message"` // one sentence for people
	Container Container `json:"container"`
	Process   *Process  `json:"process,omitempty"` // of KindStarted, KindExec and KindExited
	ExitCode  *int      `json:"exit_code,omitempty"`
	Access    *Access   `json:"access,omitempty"` // of KindAccess
	Risks     []Risk    `json:"risks,omitempty"`  // of KindRisk
}

// Risk is what a container's spec gives it.
type Risk struct {
	Name        string `json:"name"`         // as a profile's refuse_risks has it
	Where       string `json:"where"`        // the field of the spec
	WouldRefuse bool   `json:"would_refuse"` // under enforce, the profile would
}

// Container is whose store the event is in: the actor's, or, for an inbound access, the target's.
type Container struct {
	ID           string `json:"id"`
	Namespace    string `json:"namespace"`
	Name         string `json:"name,omitempty"`
	Image        string `json:"image,omitempty"`
	Pod          string `json:"pod,omitempty"`
	PodNamespace string `json:"pod_namespace,omitempty"`
	PodUID       string `json:"pod_uid,omitempty"`
}

// Access is who reached for whose memory, and what became of it.
type Access struct {
	Vector    access.Vector    `json:"vector"`
	Operation access.Operation `json:"operation"`
	Syscall   string           `json:"syscall,omitempty"` // by name, where known
	Request   string           `json:"request,omitempty"` // of ptrace, by name
	Relation  access.Relation  `json:"relation"`
	Inbound   bool             `json:"inbound"` // the target is guarded, the actor is not
	Verdict   access.Verdict   `json:"verdict"`
	Sensors   []access.Sensor  `json:"sensors"`
	Rule      string           `json:"rule"`
	// Unenforced is why an access that Rule refuses was let through: "mode=audit" or "without_lsm=audit".
	Unenforced string `json:"unenforced,omitempty"`
	// Exception is why an exception that was made for the actor's executable does not hold.
	Exception string  `json:"exception,omitempty"`
	Policy    string  `json:"policy"`    // the Plan's digest
	Technique string  `json:"technique"` // MITRE ATT&CK
	Actor     Process `json:"actor"`
	Target    Process `json:"target"`
	// Count is how many equal accesses, within a moment, this event stands for.
	Count   uint64    `json:"count"`
	Last    time.Time `json:"last"`              // when the last of them was
	Network []Flow    `json:"network,omitempty"` // what the container talked to lately, newest first
}

// Process is what is known of a process. Zero fields are unknown.
type Process struct {
	PID       int        `json:"pid"` // as the runtime sees it: on most nodes, the host's
	TID       int        `json:"tid,omitempty"`
	PIDInside int        `json:"pid_inside,omitempty"` // in its own pid namespace
	UID       int        `json:"uid"`                  // effective, as the runtime sees it
	Comm      string     `json:"comm,omitempty"`
	Exe       string     `json:"exe,omitempty"`
	Cmdline   string     `json:"cmdline,omitempty"`
	Container string     `json:"container,omitempty"` // the ID of its guarded container
	Origin    *Origin    `json:"origin,omitempty"`
	Ancestry  []Ancestor `json:"ancestry,omitempty"` // parent first
}

// Origin is how a process came into its container.
type Origin struct {
	Kind   string `json:"kind"`              // "entrypoint", "exec", or "unknown"
	ExecID string `json:"exec_id,omitempty"` // of "exec"
	PID    int    `json:"pid,omitempty"`     // of the process that came in
}

// Ancestor is a process above another.
type Ancestor struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
}

// Flow is one peer that the container talked to.
type Flow struct {
	Direction string    `json:"direction"` // "out" or "in"
	Protocol  string    `json:"protocol"`  // "tcp", "udp", or a number
	Peer      string    `json:"peer"`      // address:port
	Port      int       `json:"port"`      // the local port, of "in"
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last"`
}

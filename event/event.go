package event

import (
	"fmt"
	"time"

	"github.com/shimward/shimward/access"
)

// Schema is the version of Event's JSON form. Within a version, fields are only ever added.
const Schema = "shimward.dev/event/v1"

// Kind says what an Event is about.
type Kind string

// The kinds.
const (
	KindAccess  Kind = "access"  // a process tried to access memory
	KindCreated Kind = "created" // a guarded container was created
	KindStarted Kind = "started" // its init was started
	KindExec    Kind = "exec"    // a process was started in it from outside (kubectl exec, a probe)
	KindExited  Kind = "exited"  // its init, or such a process, ended
	KindDeleted Kind = "deleted" // it was deleted
	KindRisk    Kind = "risk"    // the container's spec has something that bypasses what shimward enforces
	KindLease   Kind = "lease"   // an executable was allowed for a limited time, or that was revoked
	KindNotice  Kind = "notice"  // shimward reports about itself: records lost, a guard gone
)

// Severity ranks events for whoever is alerted by them.
type Severity string

// The severities, lowest first.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// ParseSeverity returns the severity with the given name, or an error if there is none.
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
	Process   *Process  `json:"process,omitempty"` // for KindStarted, KindExec and KindExited
	ExitCode  *int      `json:"exit_code,omitempty"`
	Access    *Access   `json:"access,omitempty"` // for KindAccess
	Risks     []Risk    `json:"risks,omitempty"`  // for KindRisk
}

// Risk is a risk found in a container's spec.
type Risk struct {
	Name        string `json:"name"`         // as in a profile's refuse_risks
	Where       string `json:"where"`        // the field of the spec
	WouldRefuse bool   `json:"would_refuse"` // under enforce, the profile would refuse it
}

// Container identifies the container whose store has the event: the actor's or, for an inbound
// access, the target's.
type Container struct {
	ID           string `json:"id"`
	Namespace    string `json:"namespace"`
	Name         string `json:"name,omitempty"`
	Image        string `json:"image,omitempty"`
	Pod          string `json:"pod,omitempty"`
	PodNamespace string `json:"pod_namespace,omitempty"`
	PodUID       string `json:"pod_uid,omitempty"`
}

// Access says who accessed whose memory, and the outcome.
type Access struct {
	Vector    access.Vector    `json:"vector"`
	Operation access.Operation `json:"operation"`
	Syscall   string           `json:"syscall,omitempty"` // by name, if known
	Request   string           `json:"request,omitempty"` // the ptrace request, by name
	Relation  access.Relation  `json:"relation"`
	Inbound   bool             `json:"inbound"` // the target is guarded, the actor is not, or by a plan that leaves the vector off
	Verdict   access.Verdict   `json:"verdict"`
	Sensors   []access.Sensor  `json:"sensors"`
	Rule      string           `json:"rule"`
	// Unenforced is the reason why an access that Rule refuses was allowed: "mode=audit" or
	// "without_lsm=audit".
	Unenforced string `json:"unenforced,omitempty"`
	// Exception is the reason why the exception for the actor's executable does not apply.
	Exception string  `json:"exception,omitempty"`
	Policy    string  `json:"policy"`    // the Plan's digest
	Technique string  `json:"technique"` // MITRE ATT&CK
	Actor     Process `json:"actor"`
	Target    Process `json:"target"`
	// Count is the number of equal accesses, close together in time, that this event stands for.
	Count   uint64    `json:"count"`
	Last    time.Time `json:"last"`              // time of the last of them
	Network []Flow    `json:"network,omitempty"` // the container's recent peers, newest first
}

// Process is what is known about a process. Zero fields are unknown.
type Process struct {
	PID       int        `json:"pid"` // as the runtime sees it: on most nodes, the host's pid
	TID       int        `json:"tid,omitempty"`
	PIDInside int        `json:"pid_inside,omitempty"` // in its own pid namespace
	UID       int        `json:"uid"`                  // effective, as the runtime sees it
	Comm      string     `json:"comm,omitempty"`
	Exe       string     `json:"exe,omitempty"`
	Cmdline   string     `json:"cmdline,omitempty"`
	Container string     `json:"container,omitempty"` // ID of its guarded container
	Origin    *Origin    `json:"origin,omitempty"`
	Ancestry  []Ancestor `json:"ancestry,omitempty"` // parent first
}

// Origin says how a process came into its container.
type Origin struct {
	Kind   string `json:"kind"`              // "entrypoint", "exec", or "unknown"
	ExecID string `json:"exec_id,omitempty"` // for "exec"
	PID    int    `json:"pid,omitempty"`     // of the process that entered
}

// Ancestor is an ancestor of a process.
type Ancestor struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
}

// Flow is a peer that the container communicated with.
type Flow struct {
	Direction string    `json:"direction"` // "out" or "in"
	Protocol  string    `json:"protocol"`  // "tcp", "udp", or a number
	Peer      string    `json:"peer"`      // address:port
	Port      int       `json:"port"`      // the local port, for "in"
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last"`
}

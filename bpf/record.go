package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/shimward/shimward/access"
)

// Flags are further facts about an access.
type Flags uint8

// The flags; enum record_flag in include/record.h.
const (
	FlagInbound     Flags = 1 << iota // the actor is in no live guarded container, or its plan does not watch this; the target is guarded
	FlagWouldRefuse                   // a rule refuses it, but the mode is audit
	FlagTraceme                       // the target requested it
	FlagAllowed                       // a rule refuses it, but the actor's executable is allowed
	FlagCompat                        // Call is numbered by the 32-bit entry
	FlagInboundRule                   // the target's inbound rule refuses it
	FlagHostActor                     // the actor is in no container
	FlagKillFailed                    // a rule refuses it, but the signal could not be sent
)

// Record is one access as seen by a program in the kernel.
type Record struct {
	Time      time.Duration // since boot
	Call      uint32        // system call number, by the entry that Flags gives; 0 in an io_uring worker
	Request   uint32        // of ptrace
	Vector    access.Vector
	Operation access.Operation
	Relation  access.Relation
	Verdict   access.Verdict
	Sensor    access.Sensor
	Flags     Flags
	Lease     bool // FlagAllowed is due to a lease, not to the plan
	Traced    bool // the actor traces the target
	Newborn   bool // the target is the actor's child and has not execed yet
	Rule      int  // number of the rule in the actor's plan that decided, from 1; 0: none
	Actor     Process
	Target    Process
}

// Process is one party of an access. Zero fields are unknown.
type Process struct {
	Start     time.Duration // since boot
	Cgroup    uint64        // cgroup id of its guarded container; Node.Key gives the key
	PID       int           // in the runtime's pid namespace, as are TID and Origin
	TID       int
	PIDInside int // in its own pid namespace
	UID       int // effective, in the initial user namespace
	// The process through which it entered its container, and when that process started, since
	// boot.
	Origin      int
	OriginStart time.Duration
	Comm        string
	Exe         string   // path of the executed file, up to 16 components and 127 bytes; known, as Args is, only for guarded tasks
	Args        []string // first 256 bytes, at exec
	Ancestors   []Ancestor
}

// Ancestor is an ancestor of a process.
type Ancestor struct {
	PID  int
	Comm string
}

// parseRecord decodes a sample from a ring buffer.
func parseRecord(raw []byte) (*Record, error) {
	var in kernelRecord
	if size := binary.Size(in); len(raw) != size {
		return nil, fmt.Errorf("a record of %d bytes, not of %d", len(raw), size)
	}
	if _, err := binary.Decode(raw, binary.NativeEndian, &in); err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	if int(in.Vector) >= access.Vectors || int(in.Relation) >= access.Relations ||
		int(in.Verdict) >= access.Verdicts || int(in.Sensor) >= access.Sensors {
		return nil, fmt.Errorf("a record of vector %d, relation %d, verdict %d, sensor %d, which are none",
			in.Vector, in.Relation, in.Verdict, in.Sensor)
	}
	return &Record{
		Time:      time.Duration(in.Time), //nolint:gosec // 292 years of uptime fit
		Call:      in.Call,
		Request:   in.Request,
		Vector:    access.Vector(in.Vector),
		Operation: access.Operation(in.Operation),
		Relation:  access.Relation(in.Relation),
		Verdict:   access.Verdict(in.Verdict),
		Sensor:    access.Sensor(in.Sensor),
		Flags:     Flags(in.Flags),
		Lease:     in.Lease != 0,
		Traced:    in.Bond&uint8(kernelBondBOND_TRACED) != 0,
		Newborn:   in.Bond&uint8(kernelBondBOND_NEWBORN) != 0,
		Rule:      int(in.Rule),
		Actor:     parseProcess(&in.Actor),
		Target:    parseProcess(&in.Target),
	}, nil
}

func parseProcess(in *kernelProcess) Process {
	out := Process{
		Start:       time.Duration(in.Start), //nolint:gosec // 292 years of uptime fit
		Cgroup:      in.Cgroup,
		PID:         int(in.Pid),
		TID:         int(in.Tid),
		PIDInside:   int(in.PidInside),
		UID:         int(in.Uid),
		Origin:      int(in.Origin),
		OriginStart: time.Duration(in.OriginStart), //nolint:gosec // 292 years of uptime fit
		Comm:        text(in.Comm[:]),
		Exe:         text(in.Exe[:]),
		Args:        arguments(in.Args[:min(int(in.ArgsLen), len(in.Args))]),
	}
	for i := range in.Ancestors {
		if in.Ancestors[i].Pid == 0 {
			break
		}
		out.Ancestors = append(out.Ancestors, Ancestor{PID: int(in.Ancestors[i].Pid), Comm: text(in.Ancestors[i].Comm[:])})
	}
	return out
}

// text returns the string in a field from the kernel, which may or may not end in NUL. Its content
// is chosen by someone else, so it is converted to valid UTF-8.
func text(field []int8) string {
	raw := rawBytes(field)
	if end := bytes.IndexByte(raw, 0); end >= 0 {
		raw = raw[:end]
	}
	return strings.ToValidUTF8(string(raw), "�")
}

func arguments(field []int8) []string {
	raw := strings.TrimSuffix(string(rawBytes(field)), "\x00")
	if raw == "" {
		return nil
	}
	return strings.Split(strings.ToValidUTF8(raw, "�"), "\x00")
}

func rawBytes(field []int8) []byte {
	raw := make([]byte, len(field))
	for i, c := range field {
		raw[i] = byte(c) //nolint:gosec // C's char is signed here; its bits are meant
	}
	return raw
}

// unpadded returns the string in a map's key.
func unpadded(key [keyLength]byte) string {
	name, _, _ := bytes.Cut(key[:], []byte{0})
	return string(name)
}

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/shimward/shimward/access"
)

// Flags says what else is known of an access.
type Flags uint8

// The flags; enum record_flag in include/record.h.
const (
	FlagInbound     Flags = 1 << iota // the actor is in no container that lives, or in one whose plan has no say, and the target is guarded
	FlagWouldRefuse                   // a rule refuses it; the mode is audit
	FlagTraceme                       // the target asked for it
	FlagAllowed                       // a rule refuses it; the actor's executable is allowed
	FlagCompat                        // Call is a number of the 32-bit entry
	FlagInboundRule                   // it is the target's inbound rule that refuses
	FlagHostActor                     // the actor is in no container
	FlagKillFailed                    // a rule refuses it, and the signal could not be sent
)

// Record is one access, as a program in the kernel saw it.
type Record struct {
	Time      time.Duration // since boot
	Call      uint32        // the system call's number, by the entry that Flags names; 0 in an io_uring worker
	Request   uint32        // of ptrace
	Vector    access.Vector
	Operation access.Operation
	Relation  access.Relation
	Verdict   access.Verdict
	Sensor    access.Sensor
	Flags     Flags
	Lease     bool // FlagAllowed is by a lease, not by the plan
	Traced    bool // the actor traces the target
	Newborn   bool // the target is the actor's child, and has not execed since
	Rule      int  // which of the actor's plan's own rules decided, counted from 1; 0: none of them
	Actor     Process
	Target    Process
}

// Process is one side of an access. Zero fields are unknown.
type Process struct {
	Start     time.Duration // since boot
	Cgroup    uint64        // of its guarded container; Node.Key names it
	PID       int           // as the runtime sees it, as are TID and Origin
	TID       int
	PIDInside int // in its own pid namespace
	UID       int // effective, in the initial user namespace
	// The process through which it came into its container, and when that started, since boot.
	Origin      int
	OriginStart time.Duration
	Comm        string
	Exe         string   // the executed file's path, of which 16 components and 127 bytes are kept; of guarded tasks alone, as Args is
	Args        []string // at exec, the first 256 bytes
	Ancestors   []Ancestor
}

// Ancestor is a process above another.
type Ancestor struct {
	PID  int
	Comm string
}

// parseRecord decodes what came through a ring buffer.
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

// text is the string in a field of the kernel's, which may or may not end in NUL.
// Whatever is in it is somebody else's to choose, so it is made valid UTF-8.
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

// unpadded is the string in a map's key.
func unpadded(key [keyLength]byte) string {
	name, _, _ := bytes.Cut(key[:], []byte{0})
	return string(name)
}

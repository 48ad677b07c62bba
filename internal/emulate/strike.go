package emulate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// selfExe is how a process executes its own binary, even if the file has been moved or deleted.
const selfExe = "/proc/self/exe"

// Offsets in the page that an attempt shares with the judge.
const (
	proofSecret = 0          // what was read
	proofWord   = wordOffset // what self-mem-write writes
	proofAnswer = 128        // what move_pages answers
	proofAsked  = 132        // set to asked just before the call
)

const (
	asked    = 1
	noAnswer = 0x7fff_ffff
)

// Order is the order for an attempt, as JSON on its standard input.
type Order struct {
	Vector string   `json:"vector"`
	Victim Victim   `json:"victim"`
	Child  bool     `json:"child"` // start a victim as a child of the attempt
	Guard  Guard    `json:"guard"`
	Self   []string `json:"self"`   // the command line that runs this program's emulate command
	Nonce  uint32   `json:"nonce"`  // the word to write
	Proof  int      `json:"proof"`  // the descriptor of the shared page
	Stop   int      `json:"stop"`   // the descriptor whose end of file ends a victim that the attempt started
	Mem    int      `json:"mem"`    // the descriptor of an open mem file; 0 if there is none
	Sock   int      `json:"socket"` // the descriptor of a socket to receive a mem file from; 0 if there is none
}

// Line is one line of an attempt's report. The last one has Done set.
type Line struct {
	Step    string     `json:"step,omitempty"`    // what the attempt is about to do
	Own     bool       `json:"own,omitempty"`     // that step concerns the attempt itself, and nobody else yet
	Victim  *Victim    `json:"victim,omitempty"`  // the victim that the attempt started
	Actor   int        `json:"actor,omitempty"`   // pid of the helper process that acted, if not the attempt itself
	Stopped int        `json:"stopped,omitempty"` // pid of a process that it stops, and that is to go on after it
	Done    bool       `json:"done,omitempty"`
	Errno   unix.Errno `json:"errno,omitempty"`
	Error   string     `json:"error,omitempty"`
}

type striker struct {
	Order
	proof []byte
	out   *json.Encoder
}

// errUnsupported is returned by a vector that this architecture or this kernel does not have.
var errUnsupported = errors.New("not on this architecture")

// Strike makes the attempt that is ordered on in, and reports to out.
func Strike(in io.Reader, out io.Writer) error {
	s := &striker{out: json.NewEncoder(out)}
	if err := json.NewDecoder(in).Decode(&s.Order); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	vectors, err := Select([]string{s.Vector})
	if err != nil {
		return err
	}
	if s.proof, err = mapProof(s.Proof); err != nil {
		return err
	}
	nameThreads(vectors[0].Name)
	last := Line{Done: true}
	if err := s.attempt(vectors[0]); err != nil {
		last.Error = err.Error()
		errors.As(err, &last.Errno)
		if errors.Is(err, errUnsupported) {
			last.Errno = unix.ENOSYS
		}
	}
	return s.out.Encode(last)
}

// nameThreads sets the comm of this process's threads, so that events name the attempt although it
// was started as /proc/self/exe. New threads inherit the comm of the thread that starts them.
func nameThreads(name string) {
	threads, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, thread := range threads {
		_ = os.WriteFile(thread, []byte(name), 0) // only for readers of events, and a thread may have ended
	}
}

func (s *striker) attempt(vector Vector) (err error) {
	// A kernel without the i386 table answers int 0x80 with a fault.
	debug.SetPanicOnFault(true)
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the kernel has no such system call table (%v): %w", fault, unix.ENOSYS)
		}
	}()
	if s.Child && !vector.own {
		if err := s.startVictim(); err != nil {
			return err
		}
	}
	return vector.attack(s)
}

// at reports the next step, so that a kill can be attributed to it.
func (s *striker) at(step string) { _ = s.out.Encode(Line{Step: step}) }

// atOwn reports such a step that has no target yet.
func (s *striker) atOwn(step string) { _ = s.out.Encode(Line{Step: step, Own: true}) }

// secret returns the buffer for what is read.
func (s *striker) secret() []byte { return s.proof[proofSecret : proofSecret+secretLength] }

// payload returns the bytes to write.
func (s *striker) payload() []byte { return binary.NativeEndian.AppendUint32(nil, s.Nonce) }

// word returns the address that attempts to write target.
func (s *striker) word() uint64 { return s.Victim.Address + wordOffset }

// mapProof maps the shared page below 4 GiB if the architecture supports it, so that i386 calls can
// name it.
func mapProof(fd int) ([]byte, error) {
	where, err := unix.MmapPtr(fd, 0, nil, pageLength, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|mapLow)
	if err != nil {
		return nil, fmt.Errorf("mapping the page that is shared with the judge: %w", err)
	}
	return unsafe.Slice((*byte)(where), pageLength), nil //nolint:gosec // that long it has been mapped
}

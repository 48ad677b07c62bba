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

// selfExe is how a process starts itself again, wherever its file is by now.
const selfExe = "/proc/self/exe"

// Offsets in the page that an attempt shares with its judge.
const (
	proofSecret = 0          // what was read
	proofWord   = wordOffset // what self-mem-write writes
	proofAnswer = 128        // what move_pages answers
	proofAsked  = 132        // asked, before it does
)

const (
	asked    = 1
	noAnswer = 0x7fff_ffff
)

// Order is what an attempt is told, as JSON on its standard input.
type Order struct {
	Vector string   `json:"vector"`
	Victim Victim   `json:"victim"`
	Child  bool     `json:"child"`  // start a victim as a child of its own
	Self   []string `json:"self"`   // what runs this program's emulate command
	Nonce  uint32   `json:"nonce"`  // what to write
	Proof  int      `json:"proof"`  // the descriptor of the shared page
	Stop   int      `json:"stop"`   // the descriptor that ends a victim of its own
	Mem    int      `json:"mem"`    // the descriptor of an open mem file; 0 if there is none
	Sock   int      `json:"socket"` // the descriptor of a socket that a mem file comes over
}

// Line is one line of what an attempt reports. The last one has Done.
type Line struct {
	Step   string     `json:"step,omitempty"`   // what it is about to do
	Victim *Victim    `json:"victim,omitempty"` // the victim that it has started
	Actor  int        `json:"actor,omitempty"`  // the process that was stopped, where it was one sent ahead
	Done   bool       `json:"done,omitempty"`
	Errno  unix.Errno `json:"errno,omitempty"`
	Error  string     `json:"error,omitempty"`
}

type striker struct {
	Order
	proof []byte
	out   *json.Encoder
}

// errUnsupported is what a vector returns that this architecture, or this kernel, does not have.
var errUnsupported = errors.New("not on this architecture")

// Strike makes the attempt that in orders and reports to out.
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

// nameThreads has events name the attempt, which was started as /proc/self/exe. Threads that
// are yet to come have the name of the one that starts them.
func nameThreads(name string) {
	threads, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, thread := range threads {
		_ = os.WriteFile(thread, []byte(name), 0) // it is for readers alone, and some threads end
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

// at says what comes next, so that a kill can be told by where it hit.
func (s *striker) at(step string) { _ = s.out.Encode(Line{Step: step}) }

// secret is where what is read goes.
func (s *striker) secret() []byte { return s.proof[proofSecret : proofSecret+secretLength] }

// payload is what is written.
func (s *striker) payload() []byte { return binary.NativeEndian.AppendUint32(nil, s.Nonce) }

// word is the address of what attempts to write aim at.
func (s *striker) word() uint64 { return s.Victim.Address + wordOffset }

// mapProof maps the shared page below 4 GiB where the architecture can, for i386 calls to name it.
func mapProof(fd int) ([]byte, error) {
	where, err := unix.MmapPtr(fd, 0, nil, pageLength, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|mapLow)
	if err != nil {
		return nil, fmt.Errorf("mapping the page that is shared with the judge: %w", err)
	}
	return unsafe.Slice((*byte)(where), pageLength), nil //nolint:gosec // that long it has been mapped
}

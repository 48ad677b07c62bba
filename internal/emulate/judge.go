package emulate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
)

// Outcome is how an attempt ended.
type Outcome string

// The outcomes. With the first three the attempt succeeded.
const (
	OutcomeSecret      Outcome = "secret"      // bytes of the target's memory arrived
	OutcomeChanged     Outcome = "changed"     // the target's memory was changed
	OutcomeReached     Outcome = "reached"     // the kernel did what the call asked for; the call moves no memory
	OutcomeRefused     Outcome = "refused"     // EPERM or EACCES
	OutcomeKilled      Outcome = "killed"      // SIGKILL, before anything arrived
	OutcomeUnsupported Outcome = "unsupported" // ENOSYS, or not on this architecture
	OutcomeFailed      Outcome = "failed"      // anything else
)

// Result is the result of one attempt.
type Result struct {
	Vector
	Outcome  Outcome `json:"outcome"`
	Got      bool    `json:"got_secret"`
	Changed  bool    `json:"changed_memory"`
	Errno    string  `json:"errno,omitempty"`  // by name, such as EPERM
	Error    string  `json:"error,omitempty"`  // as the attempt reported it
	Signal   string  `json:"signal,omitempty"` // by name, such as SIGKILL
	Step     string  `json:"step,omitempty"`   // the last step that it announced before taking it
	Attacker int     `json:"attacker"`         // its pid, or that of the helper process that it started and that was stopped, in this pid namespace
	Target   int     `json:"target"`           // the victim's pid, or the attacker's if its last step concerned nobody else; 0 if it failed to start its own victim, or targets no process
	Note     string  `json:"note,omitempty"`
}

// Through reports whether the attempt succeeded.
func (r Result) Through() bool {
	return r.Outcome == OutcomeSecret || r.Outcome == OutcomeChanged || r.Outcome == OutcomeReached
}

// Follows reports whether the attempt went on to its vector's Follow.
func (r Result) Follows() bool { return r.Follow != access.VectorUnknown && r.Through() }

// judge makes the attempts one after another and determines the outcome of each.
type judge struct {
	options Options
	facts   Attacker
	victim  Victim   // zero if each attempt starts its own
	own     *ownPage // this process's own secret, and its mem file, opened early
}

func (j *judge) try(ctx context.Context, vector Vector) (_ Result, err error) {
	proof, err := newProof()
	if err != nil {
		return Result{}, err
	}
	defer proof.close()
	// A victim that the attempt started is of no use after it, and every running victim polls its
	// own memory.
	stop, stopper, err := os.Pipe()
	if err != nil {
		return Result{}, fmt.Errorf("pipe: %w", err)
	}
	defer func() { err = errors.Join(err, stopper.Close(), stop.Close()) }()
	order, files, err := j.order(vector, proof, stop)
	if err != nil {
		return Result{}, err
	}
	state, lines, err := j.strike(ctx, order, files)
	if err != nil {
		return Result{}, err
	}

	r := Result{Vector: vector, Attacker: state.Pid()}
	if !vector.own && !vector.node {
		r.Target = order.Victim.PID
	}
	var last Line
	own := false
	for _, line := range lines {
		switch {
		case line.Victim != nil:
			order.Victim, r.Target = *line.Victim, line.Victim.PID
		case line.Actor != 0:
			r.Attacker = line.Actor
		case line.Stopped != 0:
		case line.Done:
			last = line
		default:
			r.Step, own = line.Step, line.Own
		}
	}
	if own || vector.Access == access.VectorSelfMem {
		r.Target = r.Attacker
	}
	// A tracer that was killed may have left its tracee stopped.
	_ = unix.Kill(order.Victim.PID, unix.SIGCONT)
	if err := j.weigh(&r, order, proof, last, state); err != nil {
		return Result{}, err
	}
	r.Note = joinNotes(r.Note, j.facts.note(r, last.Errno))
	return r, nil
}

func (j *judge) weigh(r *Result, order Order, proof *proof, last Line, state *os.ProcessState) error {
	r.Error = last.Error
	if last.Errno != 0 {
		r.Errno = unix.ErrnoName(last.Errno)
	}
	r.Signal = signalOf(state)
	read := proof.page[proofSecret : proofSecret+secretLength]
	r.Got = digest(read) == order.Victim.SHA256
	part := !r.Got && !bytes.Equal(read, make([]byte, secretLength))
	if part {
		r.Note = "some bytes arrived, but not the whole secret"
	}
	var err error
	if r.Changed, err = changed(r, order, proof, last); err != nil {
		return err
	}
	switch done := last.Done && last.Error == ""; {
	case r.Got || part:
		r.Outcome = OutcomeSecret
	case r.Changed:
		r.Outcome = OutcomeChanged
	case r.Goal == GoalReach && (done || answered(proof)):
		r.Outcome = OutcomeReached
	case r.Signal == "SIGKILL":
		r.Outcome = OutcomeKilled
	case last.Errno == unix.ENOSYS:
		r.Outcome = OutcomeUnsupported
	case last.Errno == unix.EPERM || last.Errno == unix.EACCES:
		r.Outcome = OutcomeRefused
	default:
		r.Outcome = OutcomeFailed
		if done {
			r.Error = "every call succeeded, but nothing arrived"
		}
	}
	return nil
}

// answered reports whether the kernel has answered a call, even if the caller was killed
// afterwards.
func answered(proof *proof) bool {
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(proof.page[at:]) }
	return word(proofAsked) == asked && word(proofAnswer) != noAnswer
}

// changed reports whether the target's memory contains the word that was to be written, which a
// victim publishes in its name. A victim polls its memory every few milliseconds, so changed waits
// for a while.
func changed(r *Result, order Order, proof *proof, last Line) (bool, error) {
	if r.Goal != GoalChange {
		return false, nil
	}
	if r.own {
		return binary.NativeEndian.Uint32(proof.page[proofWord:]) == order.Nonce, nil
	}
	patience := 20 * pollEvery
	if last.Done && last.Error == "" {
		patience = 400 * pollEvery
	}
	// Poll: a change of a process's name cannot be waited for.
	ask := time.NewTicker(pollEvery)
	defer ask.Stop()
	for deadline := time.Now().Add(patience); ; <-ask.C {
		word, err := wordOf(order.Victim.PID)
		if err != nil {
			return false, err
		}
		if word == order.Nonce || time.Now().After(deadline) {
			return word == order.Nonce, nil
		}
	}
}

package emulate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Options says what to attack, and how.
type Options struct {
	Vectors []Vector
	Victim  *Victim  // nil: start one, as a sibling of the attempts
	Child   bool     // each attempt starts a victim as its own child instead
	Self    []string // the command line (from argument 0 on) that runs this program's emulate command
	MemFile *os.File // for mem-inherited: an open mem file of Victim
	Socket  *os.File // for mem-scm-rights: a socket to receive a mem file of Victim from
	Guard   Guard    // for the vectors that tamper with it
	Timeout time.Duration
	Stderr  *os.File // of the attempts
}

// Report is the result of a run.
type Report struct {
	Attacker Attacker `json:"attacker"`
	Victim   *Victim  `json:"victim,omitempty"` // nil if each attempt had its own
	Results  []Result `json:"results"`
}

// Through reports whether at least one attempt succeeded.
func (r *Report) Through() bool {
	for _, result := range r.Results {
		if result.Through() {
			return true
		}
	}
	return false
}

// Run makes the attempts, one after another. An attempt that is refused or killed is a result; an
// error means that something could not be tried or judged.
func Run(ctx context.Context, options Options) (report *Report, err error) {
	facts, err := attacker()
	if err != nil {
		return nil, err
	}
	report = &Report{Attacker: facts}
	stop, stopper, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	j := &judge{options: options, facts: facts}
	var victim *exec.Cmd
	defer func() {
		err = errors.Join(err, stopper.Close(), stop.Close())
		if victim != nil {
			err = errors.Join(err, victim.Wait())
		}
		if j.own != nil {
			err = errors.Join(err, j.own.Close())
		}
	}()

	switch {
	case options.Child:
	case options.Victim != nil:
		j.victim = *options.Victim
		report.Victim = options.Victim
	default:
		if victim, err = j.spawn(stop); err != nil {
			return nil, err
		}
		report.Victim = &j.victim
		if j.own, err = newOwnPage(); err != nil {
			return nil, err
		}
	}
	for _, vector := range options.Vectors {
		result, err := j.try(ctx, vector)
		if err != nil {
			return nil, err
		}
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// spawn starts a victim that is a sibling of the attempts, not a child of them. It ends with stop.
func (j *judge) spawn(stop *os.File) (*exec.Cmd, error) {
	command, announced, err := victimCommand(j.options.Self, stop)
	if err != nil {
		return nil, err
	}
	command.Stderr = j.options.Stderr
	news, err := announced(command.Start())
	if err != nil {
		return nil, fmt.Errorf("starting a victim: %w", err)
	}
	first := <-news
	if first.err != nil {
		return nil, errors.Join(fmt.Errorf("starting a victim: %w", first.err), command.Wait())
	}
	j.victim = first.victim
	return command, nil
}

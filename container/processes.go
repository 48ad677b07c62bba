package container

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/shimward/shimward/event"
)

// Process is a process that the runtime starts in a container: its init, or an exec. A nil Process,
// which stands for one that was forgotten, records nothing.
type Process struct {
	of     *Container
	execID string // empty for init

	known  event.Process // guarded by of.mu; its PID is 0 before its start is recorded
	ended  *exit         // guarded by of.mu; an end that was reported before the start
	exited bool          // guarded by of.mu; whether its end is recorded
}

// exit is the end of a process. code is nil if it is unknown.
type exit struct {
	pid  int
	code *int
	at   time.Time
}

// Announce notes what a process will run, before anything else is reported about it: the process
// may be gone before proc can be read.
func (c *Container) Announce(execID string, args []string) *Process {
	p := &Process{of: c, execID: execID}
	if len(args) > 0 {
		p.known.Cmdline = clip(strings.Join(args, " "), maxCmdline)
		p.known.Comm = clip(filepath.Base(args[0]), maxComm)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes[execID] = p
	return p
}

// Process returns the last process that was announced with an exec ID, or nil if it was forgotten.
func (c *Container) Process(execID string) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.processes[execID]
}

// RecordStart records that the runtime started the process.
func (p *Process) RecordStart(ctx context.Context, pid int) {
	if p == nil {
		return
	}
	c := p.of
	found := c.describe(side{pid: pid, own: true}, 0)
	found.Ancestry = nil // these are the runtime's own processes
	found.Origin = c.origins.of(ctx, c.proc.started(pid))
	if strings.HasPrefix(found.Comm, runtimeInit) {
		found.Exe = "" // it still runs the runtime's code, under the container's uid already
	}
	kind := event.KindStarted
	if p.execID != "" {
		kind = event.KindExec
	}

	c.mu.Lock()
	if p.known.Cmdline != "" {
		// What it was told to run: by now it may be about to run it, be gone, or have execed
		// something else.
		found.Cmdline, found.Comm = p.known.Cmdline, p.known.Comm
	}
	c.mu.Unlock()
	c.record(event.Event{Kind: kind, Process: &found})

	// Its pid is known from here on, so that an end that is reported meanwhile is recorded after
	// this.
	c.mu.Lock()
	p.known = found
	p.known.PID = pid
	ended := p.ended
	p.ended = nil
	c.mu.Unlock()
	if ended != nil {
		p.RecordExit(ended.pid, ended.code, ended.at)
	}
}

// RecordExit records the end of the process, once, and after its start. The end of another pid is
// that of an earlier process with the same exec ID, reported late. code is nil if it is unknown.
func (p *Process) RecordExit(pid int, code *int, at time.Time) {
	if p == nil || pid <= 0 { // it never ran
		return
	}
	c := p.of
	c.mu.Lock()
	if p.known.PID == 0 {
		p.ended = &exit{pid, code, at}
	}
	if p.known.PID != pid || p.exited {
		c.mu.Unlock()
		return
	}
	p.exited = true
	c.mu.Unlock()
	p.recordEnd(exit{pid, code, at})
}

func (p *Process) recordEnd(ended exit) {
	p.of.mu.Lock()
	process := p.known
	p.of.mu.Unlock()
	process.PID, process.Container = ended.pid, p.of.plan.Identity.ID
	process.Origin = &event.Origin{Kind: originEntrypoint, PID: ended.pid}
	if p.execID != "" {
		process.Origin = &event.Origin{Kind: originExec, ExecID: p.execID, PID: ended.pid}
	}
	p.of.record(event.Event{Time: ended.at, Kind: event.KindExited, ExitCode: ended.code, Process: &process})
}

// Forget drops what is known of the process, and makes room for another one with its exec ID. If
// the process ended without having been seen to start, its end is recorded now.
func (p *Process) Forget() {
	if p == nil {
		return
	}
	p.of.mu.Lock()
	if p.of.processes[p.execID] == p {
		delete(p.of.processes, p.execID)
	}
	ended := p.ended
	p.ended = nil
	p.of.mu.Unlock()
	if ended != nil {
		p.recordEnd(*ended)
	}
}

// runtimeInit is the start of the name of runc's process until that becomes the container's.
const runtimeInit = "runc:["

// maxComm is the kernel's limit for the length of a process's name: TASK_COMM_LEN, without the NUL.
const maxComm = 15

func clip(text string, most int) string { return text[:min(len(text), most)] }

// ProcessArgs returns the command line of a runtime-spec process, or nil.
func ProcessArgs(spec []byte) []string {
	var parsed struct {
		Args []string `json:"args"`
	}
	if len(spec) > maxSpec || json.Unmarshal(spec, &parsed) != nil {
		return nil // the embedded service reports what is wrong with it
	}
	return parsed.Args
}

package container

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/shimward/shimward/event"
)

// Process is one that the runtime starts in a container: its init, or an exec. Of a
// nil one, which was forgotten, nothing is recorded.
type Process struct {
	of     *Container
	execID string // empty of init

	known  event.Process // guarded by of.mu; its PID is 0 before its start is recorded
	ended  *exit         // guarded by of.mu; an end that was told before the start
	exited bool          // guarded by of.mu; its end is recorded
}

// exit is the end of a process. code is nil where nobody told.
type exit struct {
	pid  int
	code *int
	at   time.Time
}

// Announce notes what a process will run, before anything else is told of it. It
// may be gone before proc can be asked.
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

// Process returns the last of an ID that was announced; nil if it was forgotten.
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
	found.Ancestry = nil // the runtime's own processes
	found.Origin = c.origins.of(ctx, c.proc.started(pid))
	if strings.HasPrefix(found.Comm, runtimeInit) {
		found.Exe = "" // still the runtime's own code, under the container's uid already
	}
	kind := event.KindStarted
	if p.execID != "" {
		kind = event.KindExec
	}

	c.mu.Lock()
	if p.known.Cmdline != "" {
		// What it was told to run: by now it may be about to, be gone, or be on to something else.
		found.Cmdline, found.Comm = p.known.Cmdline, p.known.Comm
	}
	c.mu.Unlock()
	c.record(event.Event{Kind: kind, Process: &found})

	// Its pid is known from here on, so that an end that is told meanwhile comes after this.
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

// RecordExit records the end of the process, once, and after its start. An end of
// another pid is that of an earlier process of its ID, which is told late. code is nil
// where nobody told.
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

// Forget ends what is known of the process, and makes room for another of its ID. One
// that ended without having been seen to start is recorded now.
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

// runtimeInit begins the name of runc's process before it becomes the container's.
const runtimeInit = "runc:["

// maxComm is the kernel's bound for a process's name, TASK_COMM_LEN, without its NUL.
const maxComm = 15

func clip(text string, most int) string { return text[:min(len(text), most)] }

// ProcessArgs is the command line in a runtime-spec process, or nil.
func ProcessArgs(spec []byte) []string {
	var parsed struct {
		Args []string `json:"args"`
	}
	if len(spec) > maxSpec || json.Unmarshal(spec, &parsed) != nil {
		return nil // the embedded service says what is wrong with it
	}
	return parsed.Args
}

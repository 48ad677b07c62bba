package container

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/shimward/shimward/event"
)

// process is one that the runtime starts: the container's init or an exec.
type process struct {
	event.Process

	exited bool // its end is recorded
}

// Announce notes what a process will run, before anything else is told of it. It
// may be gone before proc can be asked.
func (c *Container) Announce(execID string, args []string) {
	p := &process{}
	if len(args) > 0 {
		p.Cmdline = clip(strings.Join(args, " "), maxCmdline)
		p.Comm = clip(filepath.Base(args[0]), maxComm)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes[execID] = p
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

// RecordCreated records that the container was created, and what of its spec leads around shimward.
func (c *Container) RecordCreated() {
	c.record(event.Event{
		Kind:    event.KindCreated,
		Message: fmt.Sprintf("the container was created: mode %s, profile %s", c.plan.Mode, c.plan.Profile),
	})
	c.recordRisks()
}

// recordRisks records what of the container's spec leads around what shimward
// holds. A pod's pause container runs nobody's code.
func (c *Container) recordRisks() {
	if len(c.risks) == 0 || c.plan.Identity.IsSandbox() {
		return
	}
	e := event.Event{Kind: event.KindRisk}
	for _, risk := range c.risks {
		refused := c.plan.RefusesRisk(risk.Risk)
		if refused {
			e.Severity = event.SeverityWarning // its mode is audit, or it would not be here
		}
		e.Risks = append(e.Risks, event.Risk{Name: string(risk.Risk), Where: risk.Where, WouldRefuse: refused})
	}
	c.record(e)
}

// RecordStart records that the runtime started a process in the container.
func (c *Container) RecordStart(ctx context.Context, execID string, pid int) {
	found := c.describe(side{pid: pid, own: true}, 0)
	found.Ancestry = nil // the runtime's own processes
	found.Origin = c.origins.of(ctx, c.proc.started(pid))

	c.mu.Lock()
	p := c.processes[execID]
	if strings.HasPrefix(found.Comm, runtimeInit) {
		found.Exe = "" // still the runtime's own code, under the container's uid already
	}
	if p != nil && p.Cmdline != "" {
		// What it was told to run: by now it may be about to, be gone, or be on to something else.
		found.Cmdline, found.Comm = p.Cmdline, p.Comm
	}
	if p != nil {
		p.Process = found
	}
	c.mu.Unlock()

	kind := event.KindStarted
	if execID != "" {
		kind = event.KindExec
	}
	c.record(event.Event{Kind: kind, Process: &found})
}

// RecordExit records the end of a process that the runtime had started, once: of one
// that was forgotten, it is. code is nil where nobody told.
func (c *Container) RecordExit(execID string, pid int, code *int, at time.Time) {
	if pid <= 0 {
		return // it never ran
	}
	c.mu.Lock()
	p := c.processes[execID]
	if p == nil || p.exited {
		c.mu.Unlock()
		return
	}
	p.exited = true
	ended := p.Process
	c.mu.Unlock()
	ended.PID, ended.Container = pid, c.plan.Identity.ID
	ended.Origin = &event.Origin{Kind: originEntrypoint, PID: pid}
	if execID != "" {
		ended.Origin = &event.Origin{Kind: originExec, ExecID: execID, PID: pid}
	}
	c.record(event.Event{Time: at, Kind: event.KindExited, ExitCode: code, Process: &ended})
}

// Forget makes room for another exec of the same ID.
func (c *Container) Forget(execID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.processes, execID)
}

// Finish ends a container that was deleted: its records come out in order, its
// state goes, its events stay.
func (c *Container) Finish(ctx context.Context) {
	c.drain()
	c.record(event.Event{Kind: event.KindDeleted})
	removeState(ctx, c.plan.Paths, c.plan.Identity.Key)
	c.Close() // last: see open
}

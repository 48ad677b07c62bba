package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// Container is a guarded container: what shimward keeps for it in addition to what the embedded
// service does. Close ends its goroutines.
type Container struct {
	plan    *policy.Plan
	listens bool        // whether it has a seccomp listener
	socket  os.FileInfo // the listener's socket, as it was created
	risks   []policy.Finding
	proc    procfs
	members *members
	origins origins
	traced  traced

	enrolling enrolling

	store        *event.Store
	folder       *event.Folder
	observations chan pending  // made by Decide, on their way to folder
	missed       atomic.Uint64 // number of observations for which the channel had no room
	unstored     atomic.Uint64 // number of events that the store rejected since the last one that it accepted

	ready           chan struct{} // closed once the fields below are set: nothing is decided before that
	kernel          kernel
	allow, allowPod map[grant]bool
	ruled           map[grant]policy.Fits
	aliases         map[string]string

	context context.Context    //nolint:containedctx // what the goroutines live under
	cancel  context.CancelFunc // ends them
	running sync.WaitGroup     // the goroutines
	drained sync.Once
	dropped sync.Once // for recording them once

	mu        sync.Mutex
	processes map[string]*Process // guarded by mu; the processes that the runtime starts, by exec ID, which is "" for init
}

// open creates what must exist before the runtime creates the container: its folder with the Plan in
// it, and its part of the event store. It adds the steps that remove these again to undo.
func open(ctx context.Context, plan *policy.Plan, limits policy.StoreLimits, undo *Cleanup) (*Container, error) {
	key := plan.Identity.Key
	// The store comes first: only one Container can have it open, and what another Container has
	// must not be touched.
	store, err := event.OpenStore(plan.Paths.Events(key), limits.ContainerBytes())
	if err != nil {
		return nil, err
	}
	if err := writePlan(plan); err != nil {
		removeEmpty(plan.Paths.Events(key))
		return nil, errors.Join(err, store.Close())
	}
	c := &Container{
		plan:         plan,
		proc:         "/proc",
		members:      &members{paths: plan.Paths},
		store:        store,
		observations: make(chan pending, maxPending),
		ready:        make(chan struct{}),
		processes:    map[string]*Process{},
	}
	c.enrolling.opens(plan.Paths)
	c.folder = event.NewFolder(event.FolderOptions{Container: c.identity(), Emit: c.emit, Network: c.network})
	// The container outlives the request that creates it.
	c.context, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	undo.Add(func() {
		c.drain()
		removeState(ctx, plan.Paths, key)
		removeEmpty(plan.Paths.Events(key))
		c.Close() // last: whoever waits for the store creates another container with this key
	})
	c.running.Go(func() { c.foldCalls(c.context) })
	return c, nil
}

// listen creates the socket to which the runtime sends the container's seccomp listener, and serves
// it.
func (c *Container) listen(residue *seccomp.Residue, attached func(pid int)) error {
	listener, err := seccomp.Listen(c.plan.Paths.Notify(c.plan.Identity.Key), c.listenOptions(residue, attached))
	if err != nil {
		return err
	}
	c.listens = true
	c.socket, err = os.Lstat(c.plan.Paths.Notify(c.plan.Identity.Key))
	if err != nil {
		return errors.Join(fmt.Errorf("look at the listener's socket: %w", err), listener.Close())
	}
	c.running.Go(func() { listener.Serve(c.context, c) })
	return nil
}

func (c *Container) listenOptions(residue *seccomp.Residue, attached func(pid int)) seccomp.ListenOptions {
	return seccomp.ListenOptions{
		Residue: residue,
		Report:  func(err error) { c.logger(c.context).WithError(err).Warn("shimward: seccomp") },
		SharesFiles: func(tid int) bool {
			select {
			case <-c.ready:
			case <-c.context.Done():
				return true
			}
			shares, err := c.kernel.SharesFiles(tid)
			return err != nil || shares
		},
		Ended: func(process int, err error) {
			// Callers get ENOSYS from here on: the guard fails closed.
			c.notice(event.SeverityCritical, fmt.Sprintf("the seccomp listener of process %d ended (%v): "+
				"from now on, system calls by it and its descendants that access memory fail; recreate the container if it needs them", process, err))
		},
		Attached: func(state *specs.ContainerProcessState) error {
			if state.State.ID != c.plan.Identity.ID {
				return fmt.Errorf("its filter is of container %q, not of %q", state.State.ID, c.plan.Identity.ID)
			}
			if attached != nil {
				attached(state.Pid)
			}
			return nil
		},
	}
}

// Attach starts reading what Enrol has put into the kernel. initPID is the process that the runtime says
// that it has created.
func (c *Container) Attach(initPID int) error {
	where := c.Where()
	switch where.PID {
	case initPID:
	case 0:
		return fmt.Errorf("the runtime created the container without its createRuntime hook, or %s is of another version than the rest of shimward: "+
			"the container is not under guard, and is deleted", HookBinary)
	default:
		return fmt.Errorf("the runtime created the container with init %d, and its createRuntime hook had named %d: the container is deleted", initPID, where.PID)
	}
	node, err := c.enrolling.open()
	if err != nil {
		return fmt.Errorf("open shimward's programs: %w", err)
	}
	self, err := newMember(c.plan, where)
	if err != nil {
		return fmt.Errorf("look at the container's cgroup: %w", err)
	}
	opened, reader, err := openKernel(node, c.plan.Identity.Key)
	if err != nil {
		return err
	}
	c.members.self = self
	c.kernel = opened
	c.allow, c.allowPod = findAllowed(c.plan.Rootfs, c.plan.Allow), findAllowed(c.plan.Rootfs, c.plan.AllowPod)
	c.ruled, c.aliases = findRuled(c.plan.Rootfs, c.plan), findAliases(c.plan.Rootfs, c.plan)
	c.origins.created(c.proc.started(initPID))
	close(c.ready)
	c.running.Go(func() { c.read(c.context, reader) })
	return nil
}

// attached reports whether Attach has succeeded. Before that, nothing in the kernel can be queried.
func (c *Container) attached() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// NoteDropped records, once, how many of the kernel's records found no room in the ring buffer.
func (c *Container) NoteDropped() {
	if !c.attached() {
		return
	}
	dropped, err := c.kernel.Dropped()
	if err != nil || dropped == 0 {
		return
	}
	c.dropped.Do(func() {
		c.notice(event.SeverityWarning, fmt.Sprintf("%d accesses were decided and counted, but have no event: they came faster than they could be read", dropped))
	})
}

// drain ends the container's goroutines and stores what they had not stored yet.
func (c *Container) drain() {
	c.drained.Do(func() {
		c.cancel()
		c.running.Wait()
		c.folder.Close()
		if missed := c.missed.Load(); missed > 0 {
			c.notice(event.SeverityWarning, fmt.Sprintf("%d attempts were decided and counted, but have no event: there were too many at once", missed))
		}
	})
}

// Close releases everything of the container except for what is pinned or in files.
func (c *Container) Close() {
	c.drain()
	if err := c.store.Close(); err != nil {
		c.logger(c.context).WithError(err).Warn("shimward: close the event store")
	}
	shut := c.enrolling.shut
	if c.attached() {
		shut = c.kernel.Close
	}
	if err := shut(); err != nil {
		c.logger(c.context).WithError(err).Warn("shimward: close the programs' pins")
	}
}

// writePlan creates the container's folder, with its Plan in it. It removes what an earlier
// container of the same bundle left there when its shim was killed.
func writePlan(plan *policy.Plan) error {
	key := plan.Identity.Key
	folder := plan.Paths.Container(key)
	if present(folder) || present(plan.Paths.Pins(key)) {
		if err := bpf.Release(plan.Paths, key); err != nil {
			return fmt.Errorf("release what an earlier container left: %w", err)
		}
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("remove what an earlier container left: %w", err)
		}
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("make the container's folder: %w", err)
	}
	text, err := json.Marshal(plan)
	if err == nil {
		err = files.Replace(plan.Paths.Plan(key), text)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the container's plan: %w", err), os.RemoveAll(folder))
	}
	return nil
}

// present reports whether there is something at path, or that cannot be ruled out.
func present(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// removeState releases everything of a container except for its events.
func removeState(ctx context.Context, paths policy.Paths, key string) {
	if err := bpf.Release(paths, key); err != nil {
		log.G(ctx).WithError(err).WithField("key", key).Warn("shimward: release the container's guard")
	}
	if err := os.RemoveAll(paths.Container(key)); err != nil {
		log.G(ctx).WithError(err).WithField("key", key).Warn("shimward: remove the container's folder")
	}
}

// removeEmpty removes a folder that contains only empty files: the event store of a container that
// was never created. A folder in which an earlier container of the bundle left events stays.
func removeEmpty(folder string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > 0 {
			return
		}
	}
	for _, entry := range entries { // sorted by name, so the lock file is removed last
		_ = os.Remove(filepath.Join(folder, entry.Name())) // if this fails, an empty file does no harm
	}
	_ = os.Remove(folder)
}

// identity returns the container that the events name.
func (c *Container) identity() event.Container { return guarded.InEvents(&c.plan.Identity) }

func (c *Container) logger(ctx context.Context) *log.Entry {
	return log.G(ctx).WithField("container", c.plan.Identity.ID)
}

// emit stores an event. An event that cannot be stored is reported in the shim's log, which
// containerd keeps, and in the store once it accepts events again.
func (c *Container) emit(e event.Event) {
	if !c.append(e) {
		c.unstored.Add(1)
		return
	}
	lost := c.unstored.Swap(0)
	if lost == 0 {
		return
	}
	if !c.append(event.Event{
		Time: time.Now(), Kind: event.KindNotice, Severity: event.SeverityCritical, Container: c.identity(),
		Message: fmt.Sprintf("%d events could not be stored before this one, because the disk was full or broken: containerd's log has them", lost),
	}) {
		c.unstored.Add(lost) // will be reported another time
	}
}

// append stores an event, or logs it if that fails, and reports whether it was stored.
func (c *Container) append(e event.Event) bool {
	err := c.store.Append(e)
	if err != nil {
		c.logger(c.context).WithError(err).WithField("event", event.Describe(e)).Error("shimward: an event could not be stored")
	}
	return err == nil
}

// record stores an event of the container's own life.
func (c *Container) record(e event.Event) {
	e.Container = c.identity()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	c.emit(e)
}

// notice stores what shimward has to report about itself.
func (c *Container) notice(severity event.Severity, message string) {
	c.record(event.Event{Kind: event.KindNotice, Severity: severity, Message: message})
}

// network returns the container's recent network peers.
func (c *Container) network() []event.Flow {
	if !c.attached() {
		return nil
	}
	flows, err := c.kernel.Flows()
	if err != nil {
		return nil // released: the container is gone
	}
	return flows
}

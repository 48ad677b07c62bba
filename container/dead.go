package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/policy"
)

// young is the age below which a container's folder may still be under construction.
const young = time.Minute

// Exit is how a container's init ended.
type Exit struct{ PID, Code int }

// ReleaseDead releases what a container had whose shim is gone. Failures are only logged: the
// container is deleted anyway.
func ReleaseDead(ctx context.Context, id, bundle string, status Exit) {
	logger := log.G(ctx).WithField("container", id)
	spec, err := readSpec(bundle)
	if err != nil {
		return // it was never created
	}
	run := hooks.RunOf(spec.text)
	if run == "" {
		return // it was never guarded
	}
	defer cleanCgroups(ctx, spec)
	key := policy.Key(id, bundle)
	paths := policy.Paths{Run: run}
	plan, err := readPlan(paths, key)
	if errors.Is(err, fs.ErrNotExist) {
		return // it has been released already
	}
	if err != nil {
		logger.WithError(err).Warn("shimward: the container's plan cannot be read, its guard stays")
		return
	}
	if Populated(plan.Paths, key) {
		logger.Warn("shimward: processes of the container are still there, and so their guard stays")
		return
	}
	recordDead(ctx, plan, &status)
	removeState(ctx, plan.Paths, key)
}

// dying is how long the processes of a killed runtime may take to end. containerd waits five
// seconds for the entire clean-up after a dead shim.
const dying = 2 * time.Second

// cleanCgroups removes what is left of a container's cgroups as soon as they are empty.
func cleanCgroups(ctx context.Context, spec *specFile) {
	parsed, err := spec.parse()
	if err != nil || parsed.Linux == nil {
		return
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, dying)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for removeCgroups(bytes.NewReader(mounts), parsed.Linux.CgroupsPath) > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func readPlan(paths policy.Paths, key string) (*policy.Plan, error) {
	raw, err := files.Read(paths.Plan(key), policy.MaxPlanBytes)
	if err != nil {
		return nil, err
	}
	return policy.ParsePlan(raw)
}

// recordDead records the end of a container whose shim did not record it.
func recordDead(ctx context.Context, plan *policy.Plan, status *Exit) {
	store, err := openStore(plan.Paths, plan.Identity.Key)
	if err == nil {
		err = errors.Join(store.Append(endOf(plan, status)), store.Close())
	}
	if err != nil {
		log.G(ctx).WithField("container", plan.Identity.ID).WithError(err).Warn("shimward: record the container's end")
	}
}

func openStore(paths policy.Paths, key string) (*event.Store, error) {
	return event.OpenStore(paths.Events(key), policy.DefaultConfig().Store.ContainerBytes())
}

// endOf returns the event for the end of a container whose host did not record it. status is nil if
// nobody knows how it ended.
func endOf(plan *policy.Plan, status *Exit) event.Event {
	e := event.Event{
		Time: time.Now(), Kind: event.KindDeleted, Severity: event.SeverityWarning,
		Container: guarded.InEvents(&plan.Identity),
		Message:   "the container was deleted after its " + hostOf(plan) + " had ended without deleting it: what it did in between has no events",
	}
	if status != nil {
		e.ExitCode = &status.Code
	}
	if status != nil && status.PID > 0 {
		e.Process = &event.Process{PID: status.PID, Container: plan.Identity.ID, Origin: &event.Origin{Kind: originEntrypoint, PID: status.PID}}
	}
	return e
}

// hostOf returns the name of what hosts a container.
func hostOf(plan *policy.Plan) string {
	if plan.Monitored {
		return "monitor"
	}
	return "shim"
}

// reconcileAll releases what containers that no longer exist left behind: shims can be killed, and with
// the daemon gone nobody runs `delete`. It also keeps the node's event store within its bounds. It reports
// whether all of that succeeded.
func reconcileAll(ctx context.Context, config *policy.Config) bool {
	err := reconcile(ctx, config.Paths)
	if err != nil {
		log.G(ctx).WithError(err).Warn("shimward: clean up after containers that are gone")
	}
	_, unswept := event.Sweep(config.Paths.Log, config.Store.NodeBytes(), config.Store.EndedContainers)
	if unswept != nil {
		log.G(ctx).WithError(unswept).Warn("shimward: keep the event store within its bounds")
	}
	return err == nil && unswept == nil
}

func reconcile(ctx context.Context, paths policy.Paths) error {
	keep := func(key string) bool { return current(ctx, paths, key) }
	if err := bpf.Reconcile(paths, keep); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("in the kernel: %w", err)
	}
	entries, err := os.ReadDir(filepath.Dir(paths.Container("key")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if key := entry.Name(); !keep(key) {
			errs = append(errs, bury(ctx, paths, key, keep))
		}
	}
	return errors.Join(errs...)
}

// bury records the end of a container that is gone, and removes its state. While another container
// with that key is being created, its creator has the store open, and the state stays, as it is
// that container's. A store that cannot be opened for another reason belongs to nobody.
func bury(ctx context.Context, paths policy.Paths, key string, keep func(string) bool) (err error) {
	plan, unread := readPlan(paths, key)
	at := paths
	if unread == nil {
		at = plan.Paths // the config's paths may have changed since
	}
	store, err := openStore(at, key)
	if errors.Is(err, event.ErrBusy) {
		return nil
	}
	if err == nil {
		defer func() { err = errors.Join(err, store.Close()) }() // from here on, another container may use it
	}
	if keep(key) {
		return err // it was created meanwhile
	}
	switch {
	case unread != nil:
		removeEmpty(at.Events(key))
	case err == nil:
		err = store.Append(endOf(plan, nil))
	}
	removeState(ctx, paths, key)
	return err
}

// current reports whether a container's state is still in use: its bundle exists, or it has
// processes, or it is being created.
func current(ctx context.Context, paths policy.Paths, key string) bool {
	if Populated(paths, key) {
		return true
	}
	info, err := os.Stat(paths.Container(key))
	inTheMaking := err == nil && time.Since(info.ModTime()) < young
	plan, err := readPlan(paths, key)
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) && !errors.Is(err, fs.ErrNotExist) {
		return true // out of descriptors, perhaps: that says nothing about the container
	}
	if err != nil {
		return inTheMaking
	}
	if plan.Monitored && !monitored(ctx, paths, key) {
		return inTheMaking // its bundle may be the user's own, and stay
	}
	_, err = os.Stat(plan.Identity.Bundle)
	return err == nil
}

// vacated is how long the monitor of a deleted container may take to end.
const vacated = 5 * time.Second

// Vacant waits until no monitor hosts a container of this ID and bundle. It returns an error if
// there still is one, or if the container still has processes: creating another container would
// treat their guard as a leftover.
func (p *Planned) Vacant(ctx context.Context) error {
	key := p.Plan.Identity.Key
	ctx, cancel := context.WithTimeout(ctx, vacated)
	defer cancel()
	for present(p.Plan.Paths.Container(key)) && (monitored(ctx, p.Plan.Paths, key) || Populated(p.Plan.Paths, key)) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("there is a container %s of this bundle already: delete it first", p.Plan.Identity.ID)
		}
	}
	return nil
}

// monitored reports whether a container's monitor is there.
func monitored(ctx context.Context, paths policy.Paths, key string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", paths.Host(key))
	if err != nil {
		return !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist)
	}
	_ = conn.Close()
	return true
}

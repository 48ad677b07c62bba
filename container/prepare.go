package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/log"

	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
	"github.com/shimward/shimward/seccomp"
)

// Request is an engine's request to create a container.
type Request struct {
	ID         string
	Namespace  string // the engine's
	Bundle     string
	Restored   bool   // from a checkpoint
	ConfigFile string // the value of nodeconfig.Env
	Monitored  bool   // a monitor hosts it, not a shim

	Hook      func() (string, error)   // returns the absolute path of the binary that the hooks start
	CheckNode func(policy.Paths) error // returns an error if no container can be guarded on the node
	// Attached, if set, is called with each process that the runtime starts in the container,
	// before any of its calls is served. Several goroutines may call it.
	Attached func(pid int)
}

// InvalidError is an error in what was requested, rather than on the node.
type InvalidError struct{ err error }

func (e *InvalidError) Error() string { return e.err.Error() }

func (e *InvalidError) Unwrap() error { return e.err }

// Planned is what has been decided about a container that is to be created. Nothing has been
// created yet.
type Planned struct {
	Plan *policy.Plan

	request Request
	file    *specFile
	spec    *policy.Spec // parsed from file
	edited  []byte       // the text that Guard made of it
	limits  policy.StoreLimits
}

// Plan decides how a container is guarded. The error is an InvalidError unless the node is to
// blame.
func Plan(r Request) (*Planned, error) {
	bundle, err := RealBundle(r.Bundle)
	if err != nil {
		return nil, &InvalidError{fmt.Errorf("find the bundle: %w", err)}
	}
	file, err := readSpec(bundle)
	if err != nil {
		return nil, &InvalidError{err}
	}
	spec, unread := file.parse()
	if unread != nil {
		// It may be of a later version, which the runtime knows. Under mode=off, that is enough.
		if spec, err = file.parseRoughly(); err != nil {
			return nil, &InvalidError{unread}
		}
	}
	config, _, err := nodeconfig.Load(r.ConfigFile)
	if err != nil {
		return nil, err
	}
	if r.Monitored && hooks.RunOf(file.text) != "" {
		return nil, &InvalidError{fmt.Errorf("%s already contains shimward's hooks: under the runtime io.containerd.shimward.v1, use runc itself; "+
			"in a bundle whose last container's monitor was killed, write a new config.json", file.path)}
	}
	plan, err := config.Plan(policy.Facts{
		ID: r.ID, Namespace: r.Namespace, Bundle: bundle, Annotations: spec.Annotations,
	})
	if err != nil {
		return nil, &InvalidError{err}
	}
	if unread != nil && plan.Mode != policy.ModeOff {
		return nil, &InvalidError{unread}
	}
	plan.Monitored, plan.Rootfs = r.Monitored, rootfs(spec, bundle)
	return &Planned{Plan: plan, request: r, file: file, spec: spec, limits: config.Store}, nil
}

// Off reports whether the container is to run as under runc.
func (p *Planned) Off() bool { return p.Plan.Mode == policy.ModeOff }

// Guard creates the container's state and edits its spec, before the runtime is started. It adds
// the steps that revert this to undo.
func (p *Planned) Guard(ctx context.Context, undo *Cleanup) (*Container, error) {
	risks, err := findRisks(p.spec, p.Plan)
	if err != nil {
		return nil, err
	}
	if p.request.Restored {
		return nil, errors.New("a container that is restored from a checkpoint cannot be guarded, because its processes never exec: " +
			`set the annotation shimward.dev/mode to "off", or start the container afresh`)
	}
	hook, err := p.request.Hook()
	if err != nil {
		return nil, err
	}
	if err := p.request.CheckNode(p.Plan.Paths); err != nil {
		return nil, err
	}
	c, err := p.edit(ctx, hook, undo)
	if err != nil {
		return nil, err
	}
	c.risks = risks
	return c, nil
}

// edit creates the container's state and edits its spec.
func (p *Planned) edit(ctx context.Context, hook string, undo *Cleanup) (*Container, error) {
	merged, residue, err := seccomp.Merge(p.spec.Profile(), seccomp.MergeOptions{
		Socket:        p.Plan.Paths.Notify(p.Plan.Identity.Key),
		Architectures: seccomp.HostArchitectures(),
	})
	if err != nil {
		return nil, err
	}
	entry := hooks.Entry{Binary: hook, Run: p.Plan.Paths.Run, Socket: p.Plan.Paths.Host(p.Plan.Identity.Key), Host: os.Getpid()}
	text, err := guardedSpec(p.file.text, entry, merged)
	if err != nil {
		return nil, err
	}
	c, err := open(ctx, p.Plan, p.limits, undo)
	if err != nil {
		return nil, err
	}
	c.prepareRing()
	c.Announce("", p.spec.Args())
	if merged.ListenerPath != "" {
		if err := c.listen(residue, p.request.Attached); err != nil {
			return nil, err
		}
	}
	// A runtime that is killed in the middle of its create leaves cgroups behind.
	undo.Add(func() { cleanCgroups(context.WithoutCancel(ctx), p.file) })
	if err := p.file.write(text); err != nil {
		return nil, err
	}
	p.edited = text
	undo.Add(func() {
		// A bundle that is used again must be as it was.
		if err := p.PutBack(); err != nil { // leaves alone what somebody has written since
			log.G(ctx).WithError(err).Warn("shimward: put the container's spec back")
		}
	})
	return c, nil
}

// CleanCgroups removes what is left of the container's cgroups as soon as they are empty.
func (p *Planned) CleanCgroups(ctx context.Context) { cleanCgroups(ctx, p.file) }

// PutBack restores the original spec of a bundle that outlives its container, unless somebody has
// written another one since.
func (p *Planned) PutBack() error {
	now, err := readSpec(p.Plan.Identity.Bundle)
	if err != nil {
		return nil //nolint:nilerr // it is gone, and most are by then
	}
	if !bytes.Equal(now.text, p.edited) {
		return nil
	}
	return p.file.write(p.file.text)
}

// RealBundle resolves the links in a bundle's path: runc passes the resolved path to the hooks, and
// a container's key is made from it.
func RealBundle(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(resolved)
}

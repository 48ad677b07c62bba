package verify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/policy"
)

// Options says what to try, and where.
type Options struct {
	Address string // containerd's socket
	Self    string // path of shimward's own static binary, which must be valid for containerd too
	Tier    access.Tier
}

// Run attacks a victim from a container under stock runc, and then from one under shimward's
// enforce mode. It leaves nothing behind, even if ctx ends meanwhile.
func Run(ctx context.Context, options Options) (_ *Report, err error) {
	address, err := filepath.Abs(strings.TrimPrefix(options.Address, "unix://")) // crictl and kubelet add this prefix
	if err != nil {
		return nil, err
	}
	locked, err := lock(address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, locked.Close()) }()
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	e, err := connect(address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	if err := e.sweep(ctx); err != nil {
		return nil, err
	}

	n := &trial{engine: e, dir: dir, self: options.Self, name: prefix + rand.Text()[:8]}
	victim, err := n.start(ctx, "victim", runtimeRunc, 0, nil, "emulate", "victim")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, victim.delete(ctx)) }()
	if err := victim.waitLine(ctx, "secret"); err != nil {
		return nil, err
	}
	runc, err := n.attack(ctx, "runc", runtimeRunc, victim, nil)
	if err != nil {
		return nil, err
	}
	shimward, err := n.attack(ctx, "enforce", runtimeShimward, victim, map[string]string{
		policy.AnnotationPrefix + policy.KeyMode: string(policy.ModeEnforce), policy.AnnotationPrefix + policy.KeyProfile: "strict",
	})
	if err != nil {
		return nil, err
	}
	report := judge(options.Tier, runc, shimward)
	return &report, nil
}

// trial is the state of one run.
type trial struct {
	engine *engine
	dir    string
	self   string
	name   string
}

func (n *trial) start(ctx context.Context, role, runtime string, pidOf uint32, annotations map[string]string, args ...string) (*container, error) {
	id := n.name + "-" + role
	// The root is empty: runc creates the mount points in it.
	root := filepath.Join(n.dir, role)
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, err
	}
	return n.engine.run(ctx, id, runtime, makeSpec(id, root, n.self, pidOf, annotations, args...), n.dir)
}

func (n *trial) attack(ctx context.Context, role, runtime string, victim *container, annotations map[string]string) (emulate.Report, error) {
	var report emulate.Report
	attacker, err := n.start(ctx, role, runtime, victim.pid, annotations, "emulate", "--json", "--timeout=3m", "all")
	if err != nil {
		return report, err
	}
	code, err := attacker.wait(ctx)
	if err = errors.Join(err, attacker.delete(ctx)); err != nil {
		return report, err
	}
	if err := json.Unmarshal([]byte(attacker.output.stdout.String()), &report); err != nil {
		return report, fmt.Errorf("the attacker under %s ended with status %d and without a report: %w: %s", runtime, code, err, attacker.output.stderr)
	}
	all, err := emulate.Select([]string{"all"})
	if err == nil && len(report.Results) != len(all) {
		err = fmt.Errorf("the attacker under %s reported %d of %d attempts", runtime, len(report.Results), len(all))
	}
	return report, err
}

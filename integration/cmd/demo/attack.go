package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// setting is the runtime and mode under which a victim and its attacker run.
type setting struct {
	title   string
	runtime string
	mode    string
}

func settings() []setting {
	return []setting{
		{title: "stock runc", runtime: node.Runc},
		{title: "shimward audit", runtime: node.Shimward, mode: "audit"},
		{title: "shimward enforce", runtime: node.Shimward, mode: "enforce"},
	}
}

// round is the result of the attacks under one setting.
type round struct {
	setting
	report emulate.Report
	events []event.Event // of the attacker's container, including its lifecycle
}

// introduce prints what shimward supports on this node, as reported by `shimward doctor`.
func introduce(ctx context.Context, out io.Writer, n *node.Node) error {
	doctor := n.Tool(ctx, "shimward", "doctor")
	doctor.Stdout, doctor.Stderr = out, out
	fmt.Fprintln(out, "What shimward can do on this node (shimward doctor):")
	fmt.Fprintln(out)
	if err := doctor.Run(); err != nil {
		return fmt.Errorf("shimward doctor: %w", err)
	}
	fmt.Fprintln(out)
	return nil
}

// attack starts a victim, and then an attacker in the victim's pid namespace.
func attack(ctx context.Context, n *node.Node, bin string, set setting) (_ round, err error) {
	spec := node.Spec{
		Runtime:      set.runtime,
		Args:         []string{"/bin/shimward", "emulate", "victim"},
		Capabilities: []string{"CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO"},
		Options: []oci.SpecOpts{oci.WithMounts([]specs.Mount{{
			Source: filepath.Join(bin, "shimward"), Destination: "/bin/shimward", Type: "bind", Options: []string{"bind", "ro"},
		}})},
	}
	if set.mode != "" {
		spec.Annotations = map[string]string{"shimward.dev/mode": set.mode, "shimward.dev/profile": "strict"}
	}
	victim, err := n.RunDetached(ctx, spec)
	if err != nil {
		return round{}, err
	}
	defer func() { err = errors.Join(err, victim.Delete(ctx)) }()
	if err := victim.WaitLine(ctx, "secret"); err != nil {
		return round{}, err
	}

	spec.ID = "attacker-" + strings.ReplaceAll(set.title, " ", "-")
	spec.PIDOf = victim
	spec.Options = append(spec.Options, oci.WithAllDevicesAllowed) // or the cgroup refuses /dev/mem
	spec.Args = []string{"/bin/shimward", "emulate", "--json", "all"}
	result, err := n.Run(ctx, spec)
	if err != nil {
		return round{}, err
	}
	r := round{setting: set}
	if err := json.Unmarshal([]byte(result.Stdout), &r.report); err != nil {
		return round{}, fmt.Errorf("read the attacker's report: %w\n%s", err, result)
	}
	if set.mode == "" {
		return r, nil
	}
	reader := event.Reader{Dir: n.Paths.Log}
	err = reader.Read(ctx, func(e event.Event) error {
		if e.Container.ID == spec.ID {
			r.events = append(r.events, e)
		}
		return nil
	})
	if err != nil {
		return round{}, fmt.Errorf("read the events: %w", err)
	}
	return r, nil
}

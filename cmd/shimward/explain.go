package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/internal/nodeconfig"
	"github.com/shimward/shimward/policy"
)

const explainAbout = `Shows what happens to an access and which rule decides it, using the same code that
decides real accesses. VECTOR is as in events, such as proc_mem, ptrace or
process_vm_readv. RELATION is what the target is to the actor (with --inbound, what
the actor is to the target): self, child, same-container, same-pod, other-container,
host or kernel.

It uses the plan of a running container (--container), or the plan that this node's
config gives for a namespace and annotations.

  shimward explain --container web proc_mem other-container
  shimward explain --namespace prod --annotation shimward.dev/profile=strict ptrace child
  shimward explain --container web --exe /usr/bin/gdb --uid 0 ptrace same-container

Exit status: 0: success; 2: an error.`

func explainCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "explain",
		Usage:       "show which rule decides an access, and why",
		ArgsUsage:   "VECTOR RELATION",
		Description: explainAbout,
		// An annotation's value is itself a list with commas.
		DisableSliceFlagSeparator: true,
		Flags: []cli.Flag{
			configFlag(env),
			containerFlag(),
			&cli.StringFlag{Name: "namespace", Usage: "`NAMESPACE` of a hypothetical container: the pod's, or containerd's", Value: "default"},
			&cli.StringSliceFlag{Name: "annotation", Usage: "annotation `KEY=VALUE` of a hypothetical container; may be repeated"},
			&cli.StringFlag{Name: "operation", Usage: "`OPERATION`: inspect, read, attach or write (default: the vector's main operation)"},
			&cli.StringFlag{Name: "tier", Usage: "`TIER`: lsm or tracepoint (default: this node's, if a container has been guarded since its boot)"},
			&cli.BoolFlag{Name: "inbound", Usage: "the container is the target's, and the actor is outside it"},
			&cli.BoolFlag{Name: "traceme", Usage: "the target asked to be traced, with PTRACE_TRACEME"},
			&cli.BoolFlag{Name: "allowed", Usage: "the actor runs an executable that the container allows"},
			&cli.StringFlag{Name: "exe", Usage: "`PATH` of the actor's executable in the container's root, as it was when the container was created"},
			&cli.Uint32Flag{Name: "uid", Usage: "effective `UID` of the actor, as numbered on the node"},
			&cli.StringFlag{Name: "target-exe", Usage: "`PATH` of the target's executable, likewise"},
			&cli.BoolFlag{Name: "json", Usage: "write one JSON object"},
		},
		Action: func(_ context.Context, command *cli.Command) error { return runExplain(env, command) },
	}
}

func runExplain(env environment, command *cli.Command) error {
	question, err := explainQuestion(command)
	if err != nil {
		return err
	}
	config, _, err := nodeconfig.Load(command.String("config"))
	if err != nil {
		return err
	}
	plan, err := explainPlan(command, config)
	if err != nil {
		return err
	}
	if question.Tier == 0 {
		if question.Tier, err = loadedTier(config.Paths); err != nil {
			return err
		}
	}
	answer, err := plan.Explain(question)
	if err != nil {
		return err
	}
	if command.Bool("json") {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(answer)
	}
	return writeExplanation(env.stdout, &answer)
}

func explainQuestion(command *cli.Command) (policy.Question, error) {
	question := policy.Question{
		Inbound: command.Bool("inbound"), Traceme: command.Bool("traceme"), Exception: command.Bool("allowed"),
		Executable: command.String("exe"), UID: command.Uint32("uid"), TargetExecutable: command.String("target-exe"),
	}
	if command.Args().Len() != 2 {
		return question, fmt.Errorf("explain takes a VECTOR and a RELATION, such as proc_mem other-container (see \"%s --help\")", command.FullName())
	}
	errs := []error{
		question.Vector.UnmarshalText([]byte(command.Args().Get(0))),
		question.Relation.UnmarshalText([]byte(command.Args().Get(1))),
	}
	if text := command.String("operation"); text != "" {
		errs = append(errs, question.Operation.UnmarshalText([]byte(text)))
	}
	if text := command.String("tier"); text != "" {
		errs = append(errs, question.Tier.UnmarshalText([]byte(text)))
	}
	return question, errors.Join(errs...)
}

// explainPlan returns the plan of a running container, or the one that the config makes for a
// container that does not exist.
func explainPlan(command *cli.Command, config *policy.Config) (*policy.Plan, error) {
	if name := command.String("container"); name != "" {
		if command.IsSet("namespace") || command.IsSet("annotation") {
			return nil, errors.New("--container determines the namespace and the annotations: leave out --namespace and --annotation")
		}
		return guarded.Find(config.Paths, name)
	}
	annotations := map[string]string{}
	for _, pair := range command.StringSlice("annotation") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("--annotation is %q: write KEY=VALUE", pair)
		}
		annotations[key] = value
	}
	return config.Plan(policy.Facts{
		ID: "asked-about", Namespace: command.String("namespace"), Bundle: "/asked-about", Annotations: annotations,
	})
}

// loadedTier returns the tier in which this node's containers are guarded.
func loadedTier(paths policy.Paths) (access.Tier, error) {
	node, err := bpf.Open(bpf.NodeOptions{Paths: paths})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errors.New(`no container has been guarded since this node's boot: write --tier lsm or --tier tracepoint ("shimward doctor" shows which one it has)`)
	}
	if err != nil {
		return 0, fmt.Errorf("open shimward's objects in the kernel: %w", err)
	}
	return node.Tier(), node.Close()
}

func writeExplanation(out io.Writer, e *policy.Explanation) error {
	direction := "at "
	if e.Inbound {
		direction = "inbound, from "
	}
	direction += e.Relation.String()
	if _, err := fmt.Fprintf(out, "%s, %s, %s: %s\n\n", e.Vector, e.Operation, direction, e.Verdict); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"rule", orDash(e.Rule)}, {"says", string(e.Action)}, {"mode", string(e.Mode)}, {"tier", e.Tier.String()}, {"severity", e.Severity}, {"policy", e.Policy},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(e.Why, "\n"))
	return err
}

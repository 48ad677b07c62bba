package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// The annotations that the tests set.
const (
	annotationMode    = "shimward.dev/mode"
	annotationProfile = "shimward.dev/profile"
)

// attackCapabilities returns the capabilities that the attacks need to succeed where nothing stops
// them. A test of an attack that the kernel refuses anyway would prove nothing.
func attackCapabilities() []string {
	return []string{"CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO"}
}

func tier(t *testing.T) access.Tier {
	t.Helper()
	return node.Tier()
}

// startVictim starts a container that keeps a secret.
func startVictim(t *testing.T, n *node.Node, spec node.Spec) *node.Container {
	t.Helper()
	spec.Args = []string{"/bin/shimward", "emulate", "victim"}
	c := mustStart(t, n, spec)
	if err := c.WaitLine(testContext(t), "keeps a secret"); err != nil {
		t.Fatal(err)
	}
	return c
}

// attack runs the attack emulation in its own container until it ends.
func attack(t *testing.T, n *node.Node, spec node.Spec, args ...string) emulate.Report {
	t.Helper()
	spec.Args = append([]string{"/bin/shimward", "emulate", "--json", "--timeout=3m"}, args...)
	spec.Capabilities = attackCapabilities()
	spec.Options = append(slices.Clone(spec.Options), oci.WithAllDevicesAllowed) // or the cgroup refuses /dev/mem
	return report(t, mustRun(t, n, spec))
}

func report(t *testing.T, result node.Result) emulate.Report {
	t.Helper()
	parsed, err := parseReport(result)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func parseReport(result node.Result) (emulate.Report, error) {
	var parsed emulate.Report
	if result.Code > 1 {
		return parsed, fmt.Errorf("the emulation did not run: %s", result)
	}
	if err := json.Unmarshal([]byte(result.Stdout), &parsed); err != nil {
		return parsed, fmt.Errorf("the emulation's report: %w in %s", err, result)
	}
	return parsed, nil
}

// accesses returns the container's events of kind access from the store.
func accesses(t *testing.T, n *node.Node, id string) []event.Event {
	t.Helper()
	all, err := n.Events(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(e event.Event) bool { return e.Kind != event.KindAccess })
}

// by returns the events whose actor is the attacker that the emulation reports.
func by(events []event.Event, r emulate.Result) []event.Event {
	var found []event.Event
	for _, e := range events {
		if e.Access.Actor.PIDInside == r.Attacker {
			found = append(found, e)
		}
	}
	return joined(found)
}

// joined merges the events that belong to one access. On emulated CPUs, the reports of two sensors
// may be made, or read, too far apart to be folded into one event, but no sensor sees an access
// twice.
func joined(events []event.Event) []event.Event {
	if !node.Emulated() {
		return events
	}
	var all []event.Event
	for _, e := range events {
		if len(all) > 0 && all[len(all)-1].Severity == e.Severity && sameAccess(all[len(all)-1].Access, e.Access) {
			last := *all[len(all)-1].Access
			last.Sensors = append(slices.Clone(last.Sensors), e.Access.Sensors...)
			slices.Sort(last.Sensors)
			last.Operation = max(last.Operation, e.Access.Operation)
			all[len(all)-1].Access = &last
			continue
		}
		all = append(all, e)
	}
	return all
}

// sameAccess reports whether two events are reports of different sensors about the same access.
func sameAccess(a, b *event.Access) bool {
	return a.Vector == b.Vector && a.Verdict == b.Verdict && a.Relation == b.Relation && a.Actor.PID == b.Actor.PID && a.Target.PID == b.Target.PID &&
		a.Rule == b.Rule && !slices.ContainsFunc(b.Sensors, func(s access.Sensor) bool { return slices.Contains(a.Sensors, s) })
}

// own reports whether a vector targets the attacker itself or one of its children.
func own(r emulate.Result) bool {
	return r.Access == access.VectorSelfMem || r.Name == "ptrace-traceme" || r.Name == "ptrace-fork" || r.Name == "ptrace-userns"
}

func describe(events []event.Event) string {
	var text strings.Builder
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			return err.Error()
		}
		text.Write(line)
		text.WriteByte('\n')
	}
	return text.String()
}

package coverage

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
)

// proofs returns the proofs of one vector on every kernel, in both directions.
func proofs(t *testing.T) []Proof {
	t.Helper()
	var all []Proof
	for _, inbound := range []bool{false, true} {
		for _, on := range []struct {
			tier    access.Tier
			kernel  string
			outcome emulate.Outcome
			errno   string
			sensor  access.Sensor
		}{
			{access.TierTracepoint, "6.18", emulate.OutcomeKilled, "", access.SensorAccess},
			{access.TierLSM, "6.12", emulate.OutcomeRefused, "EACCES", access.SensorLSM},
			{access.TierLSM, "6.1", emulate.OutcomeRefused, "EACCES", access.SensorLSM},
		} {
			p := Proof{Vector: "proc-mem-read", About: "read /proc/<pid>/mem", Inbound: inbound, Tier: on.tier, Kernel: on.kernel, Outcome: emulate.OutcomeSecret}
			p.Mode = "runc"
			all = append(all, p)
			p.Mode, p.Sensors = "audit", []access.Sensor{access.SensorLSM, access.SensorAccess}
			all = append(all, p)
			p.Mode, p.Outcome, p.Errno, p.Sensors = "enforce", on.outcome, on.errno, []access.Sensor{on.sensor}
			all = append(all, p)
		}
	}
	return all
}

// logged returns the output of `go test -json` for tests that log all proofs.
func logged(t *testing.T, all []Proof) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("vm: a tool speaks\n" + `{"Action":"output","Output":"=== RUN   TestVectors\\n"}` + "\n")
	for _, p := range all {
		line, err := p.Line()
		if err != nil {
			t.Fatal(err)
		}
		event, err := json.Marshal(map[string]string{"Action": "output", "Output": "    proof_test.go:47: " + line + "\n"})
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(event, '\n'))
	}
	return text.String()
}

func TestPage(t *testing.T) {
	read, err := Read(strings.NewReader(logged(t, proofs(t))))
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := Page(&page, read); err != nil {
		t.Fatal(err)
	}
	row := "| `proc-mem-read`: read /proc/&lt;pid>/mem | got through | got through, seen | got through, seen | refused, EACCES (lsm) | killed (access) |\n"
	if got := page.String(); strings.Count(got, row) != 2 || !strings.Contains(got, "`lsm` tier on Linux 6.1 and 6.12. `tracepoint` tier on Linux 6.18.") {
		t.Errorf("got\n%s", got)
	}
}

// What tampers first has a table of its own.
func TestPageOfTampering(t *testing.T) {
	all := proofs(t)
	for _, p := range proofs(t) {
		if !p.Inbound {
			p.Vector = "tamper-cgroup"
			all = append(all, p)
		}
	}
	var page strings.Builder
	if err := Page(&page, all); err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(page.String(), "\n## From a guarded container that tampers with shimward\n")
	table, _, found := strings.Cut(after, "\n## ")
	if !found || strings.Count(table, "\n| `") != 1 || !strings.Contains(table, "\n| `tamper-cgroup`: ") || strings.Count(page.String(), "tamper-cgroup") != 1 {
		t.Errorf("got\n%s", page.String())
	}
}

func TestPageRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func([]Proof) []Proof
		want   string
	}{
		"no kernel of a tier":     {func(all []Proof) []Proof { return all[:3] }, "no test ran in the lsm tier"},
		"a proof that is missing": {func(all []Proof) []Proof { return all[:len(all)-7] }, "has no proof"},
		"two kernels that differ": {func(all []Proof) []Proof { all[8].Errno = "EPERM"; return all }, "on another"},
		"nothing that was tested": {func([]Proof) []Proof { return nil }, "no test ran"},
		"an attack that went on":  {func(all []Proof) []Proof { all[8].Outcome = emulate.OutcomeSecret; return all }, "got through, seen"},
		"an access that none saw": {func(all []Proof) []Proof { all[7].Sensors = nil; return all }, "not seen"},
		"a kernel without a call": {func(all []Proof) []Proof { all[8].Outcome = emulate.OutcomeUnsupported; return all }, "not in this kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Page(&strings.Builder{}, test.change(proofs(t)))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSame(t *testing.T) {
	const page = "a\nTested: on 6.1.\nb"
	if err := Same(page, "a\nTested: on 6.12.\nb"); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"a\nTested: on 6.1.\nc", "a\nTested: on 6.1.", "", "a\nb\nb"} {
		if Same(page, other) == nil {
			t.Errorf("%q is the same", other)
		}
	}
}

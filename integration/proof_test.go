package integration

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/coverage"
	"github.com/shimward/shimward/internal/emulate"
)

// prove logs the outcome of an attack for docs/coverage.md, unless the test has failed.
func prove(t *testing.T, mode string, r emulate.Result, events []event.Event) {
	t.Helper()
	logProof(t, coverage.Proof{Mode: mode}, r, events)
}

func proveInbound(t *testing.T, mode string, r emulate.Result, events []event.Event) {
	t.Helper()
	logProof(t, coverage.Proof{Mode: mode, Inbound: true}, r, events)
}

func logProof(t *testing.T, p coverage.Proof, r emulate.Result, events []event.Event) {
	t.Helper()
	if t.Failed() {
		return
	}
	vectors, err := emulate.Select([]string{r.Name})
	if err != nil {
		t.Fatal(err)
	}
	p.Vector, p.About, p.Outcome, p.Errno = r.Name, vectors[0].About, r.Outcome, r.Errno
	p.Tier, p.Kernel = tier(t), series(t)
	for _, e := range events {
		p.Sensors = append(p.Sensors, e.Access.Sensors...)
	}
	line, err := p.Line()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(line)
}

// series returns the series of the running kernel: 6.1 for 6.1.0-42-amd64.
func series(t *testing.T) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(name.Release[:]), ".", 3)
	if len(parts) < 2 {
		t.Fatalf("the kernel's release is %q", parts)
	}
	return parts[0] + "." + parts[1]
}

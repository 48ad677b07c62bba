package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
)

// TestCrowd runs fifty containers at once (crowdSize), twenty of them in other modes or under runc.
// Each attacks its own victim, whose command line contains the hash of its secret, so that an event
// in the wrong container's store would be noticed.
func TestCrowd(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	type member struct {
		spec   node.Spec
		mode   string
		report emulate.Report
		err    error
	}
	var crowd []*member
	for i := range crowdSize() {
		m := &member{mode: "audit", spec: node.Spec{ID: fmt.Sprintf("crowd-%02d", i), Runtime: node.Shimward}}
		switch {
		case i%5 == 1:
			m.mode = "enforce"
		case i%10 == 3:
			m.mode = "off"
		case i%10 == 8:
			m.mode, m.spec.Runtime = "runc", node.Runc
		}
		m.spec.Annotations = map[string]string{annotationMode: m.mode, annotationProfile: "strict"}
		if m.mode == "runc" {
			m.spec.Annotations = nil
		}
		m.spec.Args = []string{"/bin/shimward", "emulate", "--json", "--spawn", "--timeout=3m", "proc-mem-read"}
		m.spec.Capabilities = attackCapabilities()
		crowd = append(crowd, m)
	}
	ctx := testContext(t)
	var wait sync.WaitGroup
	for _, m := range crowd {
		wait.Go(func() {
			var result node.Result
			if result, m.err = n.Run(ctx, m.spec); m.err == nil {
				m.report, m.err = parseReport(result)
			}
		})
	}
	wait.Wait()

	for _, m := range crowd {
		t.Run(m.spec.ID+" "+m.mode, func(t *testing.T) {
			if m.err != nil {
				t.Fatal(m.err)
			}
			r := m.report.Results[0]
			if stopped := m.mode == "enforce"; r.Through() == stopped {
				t.Errorf("under %s: %s", m.mode, tell(r))
			}
			events := accesses(t, n, m.spec.ID)
			if m.mode == "off" || m.mode == "runc" {
				if len(events) > 0 {
					t.Errorf("an unguarded container has events:\n%s", describe(events))
				}
				return
			}
			// On a machine this busy, the reports of two sensors may be too far apart to be folded
			// into one event, but no sensor sees an access twice.
			seen := map[access.Sensor]bool{}
			for _, e := range events {
				if !strings.Contains(e.Access.Target.Cmdline, m.report.Victim.SHA256) {
					t.Errorf("not at this container's victim, with secret %s:\n%s", m.report.Victim.SHA256, describe(events))
				}
				for _, sensor := range e.Access.Sensors {
					if seen[sensor] {
						t.Errorf("%s saw it twice:\n%s", sensor, describe(events))
					}
					seen[sensor] = true
				}
			}
			if len(events) == 0 {
				t.Error("no event")
			}
		})
	}
	wantNoLeaks(t, n)
}

// crowdSize is smaller on emulated CPUs, where so many containers would exceed a hook's deadline.
func crowdSize() int {
	if node.Emulated() {
		return 20
	}
	return 50
}

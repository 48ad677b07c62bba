package integration

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/internal/guarded"
	"github.com/shimward/shimward/policy"
)

// floodSize returns how many attempts one container makes: a million, or what scripts/test sets for
// emulated CPUs.
func floodSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SHIMWARD_TEST_FLOOD")
	if text == "" {
		return 1_000_000
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1000 {
		t.Fatalf("SHIMWARD_TEST_FLOOD is %q: write a number from 1000", text)
	}
	return size
}

// TestFlood lets one container attack as fast as it can. All attempts must be refused and counted,
// its neighbor's events must be complete, and neither the store nor the shim may grow beyond
// bounds.
func TestFlood(t *testing.T) {
	flood := floodSize(t)
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	victim := startVictim(t, n, node.Spec{Runtime: node.Runc})
	flooder := mustStart(t, n, node.Spec{
		ID: "flooder", Runtime: node.Shimward, PIDOf: victim, Annotations: enforceStrict(), Capabilities: attackCapabilities(),
	})
	neighbour := mustStart(t, n, node.Spec{ID: "neighbour", Runtime: node.Shimward, Annotations: auditStrict()})
	shims, err := n.Shims()
	if err != nil {
		t.Fatal(err)
	}
	before := pss(t, shims[flooder.ID])

	type outcome struct {
		result node.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := flooder.Exec(ctx, "flood", "/bin/shimward", "emulate", "flood", fmt.Sprintf("--attempts=%d", flood))
		done <- outcome{result, err}
	}()
	var flooded outcome
	meanwhile := 0
	for ended := false; !ended; {
		select {
		case flooded = <-done:
			ended = true
		default:
			wantGuarded(t, n, neighbour, fmt.Sprintf("meanwhile-%d", meanwhile), false)
			meanwhile++
		}
	}
	if flooded.err != nil {
		t.Fatal(flooded.err)
	}
	var sum emulate.Flooded
	if err := json.Unmarshal([]byte(flooded.result.Stdout), &sum); err != nil {
		t.Fatalf("%v: %s", err, flooded.result)
	}
	if sum.Attempts != flood || sum.Refused != sum.Attempts {
		t.Errorf("not all of %d were refused: %+v", flood, sum)
	}
	// The last answers are counted shortly after they are given.
	var got int
	for began := time.Now(); got < sum.Refused && time.Since(began) < 10*time.Second; {
		got = counted(t, n, flooder, access.VectorProcessVMReadv, access.VerdictRefused)
	}
	if got != sum.Refused {
		t.Errorf("%d were refused, and %d counted", sum.Refused, got)
	}
	if got := len(accesses(t, n, neighbour.ID)); got < meanwhile {
		t.Errorf("the neighbour attacked %d times meanwhile, and has %d events", meanwhile, got)
	}
	var stored int64
	err = filepath.WalkDir(n.Paths.Log, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			stored += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if most := 2 * policy.DefaultConfig().Store.ContainerBytes(); stored > most {
		t.Errorf("two containers' events take %d bytes, more than %d", stored, most)
	}
	after := pss(t, shims[flooder.ID])
	if grown := after - before; grown > 32<<10 {
		t.Errorf("the shim grew by %d KiB", grown)
	}
	t.Logf("%+v, the neighbour attacked %d times meanwhile; %d bytes of events; the shim: %d KiB, then %d", sum, meanwhile, stored, before, after)
}

// counted returns the count that `shimward ps` shows for a container, of the sensor that saw most.
func counted(t *testing.T, n *node.Node, c *node.Container, vector access.Vector, verdict access.Verdict) int {
	t.Helper()
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	out, err := exec.CommandContext(testContext(t), filepath.Join(bin, "shimward"), "ps", "--json", "--config", n.ConfigPath()).Output()
	if err != nil {
		t.Fatalf("shimward ps: %v", err)
	}
	var all []guarded.Container
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	var most uint64
	for i := range all {
		for _, count := range all[i].Counts {
			if all[i].ID == c.ID && count.Vector == vector && count.Verdict == verdict {
				most = max(most, count.Count)
			}
		}
	}
	return int(most)
}

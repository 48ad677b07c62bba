package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// raced is what testdata/races.c prints.
type raced struct {
	Rounds int `json:"rounds"`
	Killed int `json:"killed"`
	Leaked int `json:"leaked"`
}

// raceRounds returns how many rounds of each race to run: 10,000, or what scripts/test sets for
// emulated CPUs.
func raceRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SHIMWARD_TEST_RACES")
	if text == "" {
		return 10_000
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("SHIMWARD_TEST_RACES is %q: write a number", text)
	}
	return rounds
}

// TestRaces checks that nothing is read whatever happens while an access is being decided. See
// testdata/races.c.
func TestRaces(t *testing.T) {
	rounds := raceRounds(t)
	n := startGuardedNode(t, node.Options{})
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), testenv.Program(t, "gcc"), "-O1", "-static", "-no-pie", "-pthread", "-o", filepath.Join(dir, "races"), "testdata/races.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mounted := []oci.SpecOpts{oci.WithMounts([]specs.Mount{
		{Destination: "/races", Type: "bind", Source: dir, Options: []string{"rbind", "ro"}},
	})}
	victim := mustStart(t, n, node.Spec{Runtime: node.Runc, Args: []string{"/races/races", "keep"}, Options: mounted})
	if err := victim.WaitLine(testContext(t), "keeps a secret"); err != nil {
		t.Fatal(err)
	}
	for _, race := range []struct {
		name    string
		profile string
		always  bool // under runc, it is certain to get the secret
	}{
		{"threads", "strict", true},
		{"killed", "strict", true},
		{"signals", "strict", true},
		{"exec", "strict", true},
		{"recycled", "baseline", false}, // a child may be read, and another process then gets its pid
	} {
		rounds := rounds
		if race.name == "recycled" && node.Emulated() {
			rounds = min(rounds, 10) // each round looks up a new pid, for which a kernel before 6.11 walks through procfs
		}
		t.Run(race.name, func(t *testing.T) {
			run := func(spec node.Spec, rounds int) (r raced) {
				spec.PIDOf, spec.Privileged, spec.Options = victim, true, mounted
				spec.Args = []string{"/races/races", race.name, "1", strconv.Itoa(rounds)}
				result := mustRun(t, n, spec)
				if err := json.Unmarshal([]byte(result.Stdout), &r); err != nil || r.Rounds != rounds {
					t.Fatalf("%v: %s", err, result)
				}
				return r
			}
			stock := run(node.Spec{Runtime: node.Runc}, min(rounds, 200))
			if race.always && stock.Leaked == 0 {
				t.Errorf("under stock runc, it does not get the secret: %+v", stock)
			}
			guarded := run(node.Spec{ID: "racer-" + race.name, Runtime: node.Shimward, Annotations: map[string]string{
				annotationMode: "enforce", annotationProfile: race.profile,
			}}, rounds)
			t.Logf("%s tier: %+v; under stock runc: %+v", tier(t), guarded, stock)
			if guarded.Leaked > 0 {
				t.Errorf("the secret was read in %d of %d rounds", guarded.Leaked, guarded.Rounds)
			}
			if tier(t) == access.TierLSM && race.name == "threads" && guarded.Killed > 0 {
				t.Errorf("%d were killed, where the open is refused", guarded.Killed)
			}
		})
	}
}

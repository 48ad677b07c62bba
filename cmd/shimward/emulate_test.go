package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/emulate"
	"github.com/shimward/shimward/internal/testenv"
)

func TestEmulate(t *testing.T) {
	testenv.Root(t)
	got := shimward(t, setup{}, "emulate", "--spawn", "--json", "all", "recon", "tamper")
	var report emulate.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v in %+v", err, got)
	}
	if got.code != statusNo || len(report.Results) != len(emulate.Vectors()) {
		t.Errorf("got %+v", got)
	}
	for _, r := range report.Results {
		if !r.Through() && r.Outcome != emulate.OutcomeUnsupported {
			t.Errorf("%s: %s, %s", r.Name, r.Outcome, r.Error)
		}
		if r.Access == access.VectorUnknown {
			t.Errorf("%s has no name at shimward's sensors", r.Name)
		}
	}
	if got := shimward(t, setup{}, "emulate", "attack", "--child", "self-mem-write"); got.code != statusNo || !strings.Contains(got.stdout, "1 of 1") {
		t.Errorf("got %+v", got)
	}
}

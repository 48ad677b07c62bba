package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shimward/shimward/internal/doctor"
)

func TestDoctor(t *testing.T) {
	config, _ := node(t)
	got := shimward(t, setup{}, "doctor", "--config", config, "--json")
	var report doctor.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v in %+v", err, got)
	}
	// The config's paths are not on bpffs, and there is no shim next to a test binary.
	if got.code != statusNo || report.Kept {
		t.Errorf("got %+v", got)
	}
	if got := shimward(t, setup{}, "doctor", "--config", "/no/such.toml"); got.code != statusNo || !strings.Contains(got.stdout, "no such file") {
		t.Errorf("a config that is missing: %+v", got)
	}
}

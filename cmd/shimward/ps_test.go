package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/shimward/shimward/policy"
)

func TestPs(t *testing.T) {
	config, paths := node(t)
	if got := shimward(t, setup{}, "ps", "--config", config, "--json"); got.code != 0 || strings.TrimSpace(got.stdout) != "[]" {
		t.Errorf("an untouched node: %+v", got)
	}
	settings := policy.DefaultConfig()
	settings.Paths = paths
	plan, err := settings.Plan(policy.Facts{ID: "web", Namespace: "default", Bundle: "/run/web"})
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(paths.Container(plan.Identity.Key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.Plan(plan.Identity.Key), content, 0o600); err != nil {
		t.Fatal(err)
	}
	got := shimward(t, setup{}, "ps", "--config", config)
	lines := strings.Split(got.stdout, "\n")
	if got.code != 0 || len(lines) != 3 || strings.Join(strings.Fields(lines[1]), " ") != "web - - audit baseline - gone 0 0 0" {
		t.Errorf("got %+v", got)
	}
	if got := shimward(t, setup{}, "ps", "--config", config, "--counters"); got.code != 0 || strings.Count(got.stdout, "\n") != 1 {
		t.Errorf("got %+v", got)
	}
}

package container

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/policy"
)

// The end of a container that is gone must be recorded where its other events are, and its state
// must be removed, whatever happened to its plan and its store.
func TestBury(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, plan *policy.Plan)
		told   bool
		empty  bool // whether it has no store of its own afterwards
	}{
		"as it was": {change: func(*testing.T, *policy.Plan) {}, told: true},
		"no plan": {change: func(t *testing.T, plan *policy.Plan) {
			t.Helper()
			if err := os.Remove(plan.Paths.Plan(plan.Identity.Key)); err != nil {
				t.Fatal(err)
			}
		}, empty: true},
		"no store": {change: func(t *testing.T, plan *policy.Plan) {
			t.Helper()
			if err := os.WriteFile(plan.Paths.Events(plan.Identity.Key), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			former := testPaths(t)
			plan := deadContainer(t, former, t.TempDir())
			test.change(t, plan)
			now := former
			now.Log = t.TempDir() // the config was changed meanwhile
			err := bury(t.Context(), now, plan.Identity.Key, func(string) bool { return false })
			if (err != nil) != (name == "no store") {
				t.Errorf("it says %v", err)
			}
			if exists(former.Container(plan.Identity.Key)) {
				t.Error("its state is still there")
			}
			var kinds []event.Kind
			if err := (&event.Reader{Dir: former.Log}).Read(t.Context(), func(e event.Event) error {
				kinds = append(kinds, e.Kind)
				return nil
			}); err != nil {
				t.Error(err)
			}
			if told := len(kinds) == 1 && kinds[0] == event.KindDeleted; told != test.told {
				t.Errorf("the store has %v", kinds)
			}
			left, err := filepath.Glob(filepath.Join(now.Log, "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("a store was made for it: %v, %v", left, err)
			}
			if test.empty && exists(former.Events(plan.Identity.Key)) {
				t.Error("an empty store is left")
			}
		})
	}
}

package e2e

import (
	"testing"

	"github.com/shimward/shimward/access"
)

// tellSharedPID tests a pod whose containers share a pid namespace. The neighbor gets the victim's
// secret under stock runc and does not in enforce mode, except for the container that an annotation
// leaves in audit mode.
func tellSharedPID(t *testing.T, s *stage) {
	t.Helper()
	t.Run("stock runc", func(t *testing.T) {
		p := s.run(t, sharedPID(pod("stock", nil, victim(), idle("attacker"))))
		wantThrough(t, s.attackFrom(t, p, "attacker"), true)
	})
	t.Run("shimward", func(t *testing.T) {
		p := s.run(t, sharedPID(pod("shared", map[string]string{annotationMode: "enforce", annotationMode + ".watched": "audit"},
			victim(), idle("attacker"), idle("watched"))))
		for name, through := range map[string]bool{"attacker": false, "watched": true} {
			report := s.attackFrom(t, p, name)
			wantThrough(t, report, through)
			for _, e := range s.wantEvents(t, id(t, p, name), report, access.RelationSamePod) {
				if c := e.Container; c.Name != name || c.Pod != p.Name || c.PodNamespace != p.Namespace || c.PodUID != string(p.UID) {
					t.Errorf("the event's container is %+v", c)
				}
			}
		}
	})
}

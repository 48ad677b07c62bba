package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
)

// tellExec tests kubectl exec. The access event must name the exec that the attacker came from, and
// the store must have an event about that exec with its command line.
func tellExec(t *testing.T, s *stage) {
	t.Helper()
	p := s.run(t, sharedPID(pod("exec", enforce(), victim(), idle("main"))))
	container := id(t, p, "main")
	report := s.attackFrom(t, p, "main")
	wantThrough(t, report, false)
	for _, e := range s.wantEvents(t, container, report, access.RelationSamePod) {
		origin := e.Access.Actor.Origin
		if origin == nil || origin.Kind != "exec" || origin.ExecID == "" {
			t.Fatalf("the event does not name the exec: %+v", origin)
		}
		_, err := s.Node.WaitEvent(testContext(t), container, func(e event.Event) bool {
			return e.Kind == event.KindExec && e.Process != nil && e.Process.Origin != nil && e.Process.Origin.ExecID == origin.ExecID
		})
		if err != nil {
			t.Errorf("the exec's own event: %v", err)
		}
	}
}

// tellDebug tests kubectl debug --target, which joins a container's pid namespace: with an
// attacker, which must be refused, and with a debugger for which the pod's owner made an exception.
func tellDebug(t *testing.T, s *stage) {
	t.Helper()
	annotations := enforce()
	annotations[annotationAllowPod+".debugger"] = "/bin/shimward"
	p := s.run(t, pod("debugged", annotations, victim()))
	for name, code := range map[string]int32{"attacker": 0, "debugger": 1} {
		t.Run(name, func(t *testing.T) {
			command := attacker(name)
			args := append([]string{
				"--namespace=" + s.namespace, "debug", p.Name, "--image=" + command.Image, "--image-pull-policy=Never",
				"--target=victim", "--container=" + name, "--profile=general", "--attach=false", "--quiet", "--",
			}, command.Command...)
			if out, err := s.Kubectl(testContext(t), args...).CombinedOutput(); err != nil {
				t.Fatalf("kubectl debug: %v\n%s", err, out)
			}
			ended := s.wait(t, p.Name, func(p *corev1.Pod) (bool, error) {
				for _, status := range p.Status.EphemeralContainerStatuses {
					if status.Name == name && status.State.Terminated != nil {
						return true, nil
					}
				}
				return false, nil
			})
			for _, status := range ended.Status.EphemeralContainerStatuses {
				if status.Name == name && status.State.Terminated.ExitCode != code {
					t.Errorf("%s ended with %d, want %d", name, status.State.Terminated.ExitCode, code)
				}
			}
			if name == "attacker" {
				s.wantRefused(t, id(t, ended, name), access.RelationSamePod)
			}
		})
	}
}

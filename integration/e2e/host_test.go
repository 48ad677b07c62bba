package e2e

import (
	"slices"
	"strconv"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	corev1 "k8s.io/api/core/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
)

// tellHostPID tests a pod in the node's pid namespace that attacks a process in another pod.
func tellHostPID(t *testing.T, s *stage) {
	t.Helper()
	target := s.run(t, pod("target", enforce(), victim()))
	// Aim at it by pid, because the node has unrelated processes, too.
	aim := "--victim=" + strconv.Itoa(s.hostPID(t, id(t, target, "victim")))
	hostPID := func(name string, annotations map[string]string) *corev1.Pod {
		p := pod(name, annotations, idle("attacker"))
		p.Spec.HostPID = true
		return p
	}
	t.Run("stock runc", func(t *testing.T) {
		p := s.run(t, hostPID("stock-host", nil))
		wantThrough(t, s.attackFrom(t, p, "attacker", aim), true)
	})
	t.Run("shimward", func(t *testing.T) {
		p := s.run(t, hostPID("host", enforce()))
		report := s.attackFrom(t, p, "attacker", aim)
		wantThrough(t, report, false)
		s.wantEvents(t, id(t, p, "attacker"), report, access.RelationOtherContainer)
		s.wantRisk(t, id(t, p, "attacker"), "host_pid")
	})
}

// tellPrivileged tests a privileged container.
func tellPrivileged(t *testing.T, s *stage) {
	t.Helper()
	privileged := func(name string, annotations map[string]string) *corev1.Pod {
		yes := true
		attacker := idle("attacker")
		attacker.SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		return sharedPID(pod(name, annotations, victim(), attacker))
	}
	t.Run("stock runc", func(t *testing.T) {
		p := s.run(t, privileged("stock-privileged", nil))
		wantThrough(t, s.attackFrom(t, p, "attacker"), true)
	})
	t.Run("shimward", func(t *testing.T) {
		p := s.run(t, privileged("privileged", enforce()))
		report := s.attackFrom(t, p, "attacker")
		wantThrough(t, report, false)
		s.wantEvents(t, id(t, p, "attacker"), report, access.RelationSamePod)
		s.wantRisk(t, id(t, p, "attacker"), "privileged")
	})
}

// wantRisk checks that the container's store records a risk of its spec.
func (s *stage) wantRisk(t *testing.T, container, name string) {
	t.Helper()
	_, err := s.Node.WaitEvent(testContext(t), container, func(e event.Event) bool {
		return e.Kind == event.KindRisk && slices.ContainsFunc(e.Risks, func(r event.Risk) bool { return r.Name == name })
	})
	if err != nil {
		t.Errorf("risk %s: %v", name, err)
	}
}

// hostPID returns the pid of a container's init in the node's pid namespace.
func (s *stage) hostPID(t *testing.T, container string) int {
	t.Helper()
	ctx := namespaces.WithNamespace(testContext(t), "k8s.io")
	var task containerd.Task
	found, err := s.Node.Client.LoadContainer(ctx, container)
	if err == nil {
		task, err = found.Task(ctx, cio.Load)
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(task.Pid())
}

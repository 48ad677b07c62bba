package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/access"
)

// tellContainerdRestarted kills and restarts containerd under a running pod. The pod must keep
// running and stay guarded, and so must pods that are created later.
func tellContainerdRestarted(t *testing.T, s *stage) {
	t.Helper()
	p := s.run(t, sharedPID(pod("outlives-containerd", enforce(), victim(), idle("main"))))
	if err := s.Node.KillContainerd(); err != nil {
		t.Fatal(err)
	}
	if err := s.Node.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.wantAsBefore(t, p)
	after := s.run(t, sharedPID(pod("after-containerd", enforce(), victim(), idle("main"))))
	wantThrough(t, s.attackFrom(t, after, "main"), false)
}

// tellKubeletRestarted stops and restarts kubelet under a running pod.
func tellKubeletRestarted(t *testing.T, s *stage) {
	t.Helper()
	p := s.run(t, sharedPID(pod("outlives-kubelet", enforce(), victim(), idle("main"))))
	if err := s.RestartKubelet(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.wantAsBefore(t, p)
	after := s.run(t, sharedPID(pod("after-kubelet", enforce(), victim(), idle("main"))))
	wantThrough(t, s.attackFrom(t, after, "main"), false)
}

// wantAsBefore checks that a pod's containers are still the same ones, and guarded.
func (s *stage) wantAsBefore(t *testing.T, before *corev1.Pod) {
	t.Helper()
	container := id(t, before, "main")
	// A kubelet that has just started learns of its pods shortly after it begins to answer.
	for ctx := testContext(t); s.exec(t, before, "main", "/bin/true").Code != 0 && ctx.Err() == nil; {
		continue
	}
	report := s.attackFrom(t, before, "main")
	wantThrough(t, report, false)
	s.wantEvents(t, container, report, access.RelationSamePod)
	now, err := s.Client.CoreV1().Pods(s.namespace).Get(testContext(t), before.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if id(t, now, "main") != container || now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod did not run on: %+v", now.Status.ContainerStatuses)
	}
}

// tellShimKilled kills the pod's shim. Its containers end with it, as under stock runc. Kubelet
// must recreate them, and they must be guarded.
func tellShimKilled(t *testing.T, s *stage) {
	t.Helper()
	lasting := sharedPID(pod("shim-killed", enforce(), victim(), idle("main")))
	lasting.Spec.RestartPolicy = corev1.RestartPolicyAlways
	p := s.run(t, lasting)
	before := id(t, p, "main")
	if err := s.Node.KillShim(s.sandbox(t, p)); err != nil {
		t.Fatal(err)
	}
	s.wantGuardedAnew(t, p, before)
}

// wantGuardedAnew waits until kubelet has recreated a pod's containers, of which "main" had the ID
// before, and checks that the new ones are guarded.
func (s *stage) wantGuardedAnew(t *testing.T, p *corev1.Pod, before string) {
	t.Helper()
	again := s.wait(t, p.Name, func(p *corev1.Pod) (bool, error) {
		for _, status := range p.Status.ContainerStatuses {
			if !status.Ready || status.ContainerID == "containerd://"+before {
				return false, nil
			}
		}
		return ready(p), nil
	})
	report := s.attackFrom(t, again, "main")
	wantThrough(t, report, false)
	s.wantEvents(t, id(t, again, "main"), report, access.RelationSamePod)
}

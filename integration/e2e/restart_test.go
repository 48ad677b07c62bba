package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/access"
)

// containerd is killed and started again under a running pod: it runs on, is
// guarded on, and what comes after it is, too.
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

// kubelet is ended and started again under a running pod.
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

// wantAsBefore holds that a pod's containers are still those that they were, and guarded.
func (s *stage) wantAsBefore(t *testing.T, before *corev1.Pod) {
	t.Helper()
	container := id(t, before, "main")
	// A kubelet that has just started learns of its pods a moment after it answers.
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

// The pod's shim is killed. Its containers end with it, as under stock runc;
// kubelet makes them anew, and they are guarded.
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

// wantGuardedAnew waits until the kubelet has made a pod's containers again, of which
// "main" was before, and wants the new ones guarded.
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

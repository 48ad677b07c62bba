package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox returns the ID of a pod's sandbox, by which its shim is named.
func (s *stage) sandbox(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	client, done, err := s.Node.CRI()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = done() }()
	list, err := client.ListPodSandbox(testContext(t), &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{
		LabelSelector: map[string]string{"io.kubernetes.pod.uid": string(p.UID)},
		State:         &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.GetItems()) != 1 {
		t.Fatalf("pod %s has %d sandboxes, want 1", p.Name, len(list.GetItems()))
	}
	return list.GetItems()[0].GetId()
}

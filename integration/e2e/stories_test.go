package e2e

import "testing"

// TestStories tells every story on one cluster, in this order: the last ones
// restart and kill what the first ones stand on.
func TestStories(t *testing.T) {
	s := startCluster(t)
	for _, story := range []struct {
		name string
		tell func(*testing.T, *stage)
	}{
		{"admission", tellAdmission},
		{"overhead", tellOverhead},
		{"shared pid namespace", tellSharedPID},
		{"host pid", tellHostPID},
		{"privileged", tellPrivileged},
		{"init container", tellInit},
		{"sidecar", tellSidecar},
		{"job", tellJob},
		{"exec probe", tellProbe},
		{"kubectl exec", tellExec},
		{"kubectl debug", tellDebug},
		{"user namespace", tellUserNamespace},
		{"seccomp profiles", tellSeccomp},
		{"read-only root", tellReadOnly},
		{"refused annotation", tellRefused},
		{"containerd restarted", tellContainerdRestarted},
		{"kubelet restarted", tellKubeletRestarted},
		{"shim killed", tellShimKilled},
		{"no growth", tellNoGrowth},
	} {
		t.Run(story.name, func(t *testing.T) { story.tell(t, s) })
		s.wantSettled(t, story.name)
	}
}

// wantSettled holds that a story left nothing: its pods are deleted by now.
func (s *stage) wantSettled(t *testing.T, story string) {
	t.Helper()
	if err := s.Node.Settled(testContext(t)); err != nil {
		t.Errorf("after the story %s: %v", story, err)
	}
}

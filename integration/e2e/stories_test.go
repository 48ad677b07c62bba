package e2e

import (
	"context"
	"testing"
	"time"
)

// sweeps is enough time for kubelet's garbage collection to run twice, also on emulated CPUs.
const sweeps = 10 * time.Minute

// TestStories runs every story on one cluster, in this order: the last ones restart and kill what
// the first ones rely on.
func TestStories(t *testing.T) {
	s := startCluster(t)
	for _, story := range []struct {
		name string
		tell func(*testing.T, *stage)
	}{
		{"installed", tellInstalled},
		{"does not hold", tellDoesNotHold},
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
		{"node rebooted", tellRebooted},
		{"upgraded", tellUpgraded},
		{"uninstalled", tellUninstalled},
	} {
		t.Run(story.name, func(t *testing.T) { story.tell(t, s) })
	}
	s.mustHelm(t, "uninstall", release, "--ignore-not-found") // in case only some stories ran
	s.wantSettled(t)
}

// wantSettled checks that nothing is left of the stories' pods, which have been deleted.
func (s *stage) wantSettled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sweeps)
	defer cancel()
	if err := s.Emptied(ctx); err != nil {
		t.Error(err)
	}
}

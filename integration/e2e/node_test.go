package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/install"
)

// tellRebooted restarts the node with nothing in /run and on bpffs. Its pods must be recreated,
// guarded, and the installer must check again whether shimward works.
func tellRebooted(t *testing.T, s *stage) {
	t.Helper()
	lasting := sharedPID(pod("rebooted", enforce(), victim(), idle("main")))
	lasting.Spec.RestartPolicy = corev1.RestartPolicyAlways
	p := s.run(t, lasting)
	before, verified := id(t, p, "main"), s.installerRun(t)
	if err := s.Reboot(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.wantGuardedAnew(t, p, before)
	eventually(t, "the installer to run anew", func() (bool, string) {
		now := s.installerRun(t)
		return now != "" && now != verified, fmt.Sprintf("%s, and then %s", verified, now)
	})
	s.awaitInstalled(t)
	s.remove(t, p.Name)
	s.wantOnlyInstaller(t)
}

// installerRun returns the ID of the container that has installed shimward, or "" until it is done.
func (s *stage) installerRun(t *testing.T) string {
	t.Helper()
	pods, err := s.Client.CoreV1().Pods(systemNamespace).List(testContext(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		for _, status := range p.Status.InitContainerStatuses {
			if done := status.State.Terminated; done != nil && done.ExitCode == 0 && p.DeletionTimestamp == nil {
				return status.ContainerID
			}
		}
	}
	return ""
}

// tellUpgraded installs another shimward with helm upgrade. A running pod must keep its shim until
// it ends, and stay guarded by it. Pods that are created from then on must use the new one.
func tellUpgraded(t *testing.T, s *stage) {
	t.Helper()
	newer := t.TempDir()
	for _, name := range install.Binaries() {
		text, err := os.ReadFile(filepath.Join(s.bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(newer, name), append(text, "newer"...), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.importImage(t, "second", newer)
	p := s.run(t, sharedPID(pod("outlives-upgrade", enforce(), victim(), idle("main"))))
	old, verified := s.version(t), s.installerRun(t)
	s.mustHelm(t, "upgrade", release, chart, "--values="+s.values(t, "second"))
	eventually(t, "the newer installer", func() (bool, string) {
		now := s.installerRun(t)
		return now != "" && now != verified, fmt.Sprintf("%s, and then %s", verified, now)
	})
	s.awaitInstalled(t)
	if s.version(t) == old {
		t.Fatalf("the node has %s yet", old)
	}
	s.wantShimOf(t, p, old)
	s.wantAsBefore(t, p)
	after := s.run(t, sharedPID(pod("after-upgrade", enforce(), victim(), idle("main"))))
	s.wantShimOf(t, after, s.version(t))
	report := s.attackFrom(t, after, "main")
	wantThrough(t, report, false)
	s.wantEvents(t, id(t, after, "main"), report, access.RelationSamePod)
	s.remove(t, p.Name)
	s.remove(t, after.Name)
	s.wantOnlyInstaller(t)
}

// wantShimOf checks that a pod's shim runs from the directory of a version.
func (s *stage) wantShimOf(t *testing.T, p *corev1.Pod, version string) {
	t.Helper()
	shims, err := s.Node.Shims()
	if err != nil {
		t.Fatal(err)
	}
	running, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", shims[s.sandbox(t, p)]))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(running) != version {
		t.Errorf("the shim of pod %s is %s, want one of %s", p.Name, running, version)
	}
}

// wantOnlyInstaller checks that only the installer's pod is left, which does not run under
// shimward.
func (s *stage) wantOnlyInstaller(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sweeps)
	defer cancel()
	if err := s.AwaitPods(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(s.Node.Paths.Run, "containers"), filepath.Join(s.Node.Paths.BPF, "containers")} {
		if left := count(t, dir); left > 1 {
			t.Errorf("%d files are left in %s", left-1, dir)
		}
	}
}

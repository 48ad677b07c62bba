package e2e

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/internal/testenv"
)

// tellUserNamespace tests a pod with its own user namespace.
func tellUserNamespace(t *testing.T, s *stage) {
	t.Helper()
	if !s.hasUserNamespaces() {
		testenv.Elsewhere(t, "kubelet asks containerd which of its runtimes have user namespaces, and containerd 1.7 names none")
	}
	inside := func(name string, annotations map[string]string) *corev1.Pod {
		no := false
		p := sharedPID(pod(name, annotations, victim(), idle("attacker")))
		p.Spec.HostUsers = &no
		return p
	}
	t.Run("stock runc", func(t *testing.T) {
		p := s.run(t, inside("stock-userns", nil))
		wantThrough(t, s.attackFrom(t, p, "attacker"), true)
	})
	t.Run("shimward", func(t *testing.T) {
		p := s.run(t, inside("userns", enforce()))
		report := s.attackFrom(t, p, "attacker")
		wantThrough(t, report, false)
		s.wantEvents(t, id(t, p, "attacker"), report, access.RelationSamePod)
	})
}

// localhostProfile permits everything except mkdir.
const localhostProfile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}`

// tellSeccomp checks that a container keeps its seccomp profile, and that shimward's rules are
// added.
func tellSeccomp(t *testing.T, s *stage) {
	t.Helper()
	if err := os.MkdirAll(s.SeccompDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.SeccompDir(), "nomkdir.json"), []byte(localhostProfile), 0o644); err != nil {
		t.Fatal(err)
	}
	file := "nomkdir.json"
	for name, profile := range map[string]*corev1.SeccompProfile{
		"runtime-default": {Type: corev1.SeccompProfileTypeRuntimeDefault},
		"unconfined":      {Type: corev1.SeccompProfileTypeUnconfined},
		"localhost":       {Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &file},
	} {
		t.Run(name, func(t *testing.T) {
			neighbour := idle("attacker")
			neighbour.SecurityContext.SeccompProfile = profile
			p := s.run(t, sharedPID(pod("seccomp-"+name, enforce(), victim(), neighbour)))
			report := s.attackFrom(t, p, "attacker")
			wantThrough(t, report, false)
			s.wantEvents(t, id(t, p, "attacker"), report, access.RelationSamePod)
			made := s.exec(t, p, "attacker", "/bin/mkdir", "/tmp/made")
			if refused := made.Code != 0; refused != (name == "localhost") {
				t.Errorf("mkdir under the profile: %s", made)
			}
		})
	}
}

// tellReadOnly tests a container with a read-only root file system.
func tellReadOnly(t *testing.T, s *stage) {
	t.Helper()
	yes := true
	neighbour := idle("attacker")
	neighbour.SecurityContext.ReadOnlyRootFilesystem = &yes
	p := s.run(t, sharedPID(pod("read-only", enforce(), victim(), neighbour)))
	if made := s.exec(t, p, "attacker", "/bin/touch", "/tmp/made"); made.Code == 0 {
		t.Error("the root can be written")
	}
	report := s.attackFrom(t, p, "attacker")
	wantThrough(t, report, false)
	s.wantEvents(t, id(t, p, "attacker"), report, access.RelationSamePod)
}

// Package e2e tells stories of shimward in a Kubernetes, with kubelet, the
// control plane and a network of pods as a cluster has them, on the kernel that
// the tests run on. `make e2e` brings the cluster up and runs them in their order.
package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/integration/internal/cluster"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// patience is how long a step of a story may take. It is generous: emulated CPUs are slow, and no
// test asserts a time.
const patience = 15 * time.Minute

// stage is what a story is told on: the cluster, and a namespace in it.
type stage struct {
	*cluster.Cluster
	namespace string
	prefix    string // where shimward is put on the node
	engines   string // containerd's folder
	bin       string // of what is put there
	helm      string

	configVersion int // of containerd's config
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startCluster starts a cluster that has no shimward, installs it with the chart, and
// takes everything down at the test's end.
func startCluster(t *testing.T) *stage {
	t.Helper()
	testenv.Root(t)
	ctx := testContext(t)
	// Where the chart puts shimward; containerd has its bin in PATH.
	prefix := t.TempDir()
	s := &stage{
		namespace: "stories", prefix: prefix,
		engines: folder(t, "SHIMWARD_ENGINES", "containerd and runc (scripts/build-tools engines)", "containerd"),
		bin:     folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "shimward"),
		helm:    filepath.Join(folder(t, "SHIMWARD_HELM", "helm (scripts/build-tools helm)", "helm"), "helm"),
	}
	containerd := containerdVersion(ctx, t, s.engines)
	s.configVersion = configVersion(containerd)
	// docs/operations.md has a column for it: cmd/stories reads this line.
	t.Logf(`told on: {"containerd":%q,"tier":%q}`, containerd, node.Tier())
	c, err := cluster.Start(ctx, cluster.Options{
		Kubernetes: folder(t, "SHIMWARD_KUBERNETES", "Kubernetes (scripts/build-kubernetes)", "kubelet"),
		Node: node.Options{
			Engines: s.engines, Bin: filepath.Join(prefix, "bin"), Installer: s.bin, ConfigVersion: s.configVersion,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster = c
	t.Cleanup(func() {
		keepLogs(t, c)
		if err := c.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("stopping the cluster: %v", err)
		}
	})
	s.install(t)
	s.makeNamespace(ctx, t, s.namespace, map[string]string{"shimward.dev/annotations": "free"})
	return s
}

// containerdVersion is what it says itself, without the commit.
func containerdVersion(ctx context.Context, t *testing.T, engines string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, filepath.Join(engines, "containerd"), "--version").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		t.Fatalf("containerd --version: %v: %q", err, out)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(fields[2], "v"), "+")
	return version
}

// configVersion is that of the config that a release of containerd writes.
func configVersion(containerd string) int {
	switch series := strings.SplitN(containerd, ".", 3); {
	case series[0] == "1":
		return 2
	case series[0] == "2" && slices.Contains([]string{"0", "1", "2"}, series[1]):
		return 3
	default:
		return 4
	}
}

// hasUserNamespaces tells whether pods can have one: from containerd 2.0 on.
func (s *stage) hasUserNamespaces() bool { return s.configVersion > 2 }

// keepLogs copies the logs to where SHIMWARD_LOGS says, if the test failed.
func keepLogs(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	to := os.Getenv("SHIMWARD_LOGS")
	if !t.Failed() || to == "" {
		return
	}
	if err := c.KeepLogs(filepath.Join(to, time.Now().Format("20060102-150405"))); err != nil {
		t.Error(err)
	}
	t.Logf("the cluster's logs are in %s", to)
}

// makeNamespace makes a namespace that takes every pod, and waits until it takes one.
func (s *stage) makeNamespace(ctx context.Context, t *testing.T, name string, labels map[string]string) {
	t.Helper()
	all := map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}
	for key, value := range labels {
		all[key] = value
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}}
	if _, err := s.Client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := s.Kubectl(ctx, "wait", "--namespace="+name, "--for=create", "--timeout=15m", "serviceaccount/default").CombinedOutput()
	if err != nil {
		t.Fatalf("the namespace has no service account: %v\n%s", err, out)
	}
}

// folder is the absolute path that the variable names, if what is in it.
func folder(t *testing.T, variable, label, what string) string {
	t.Helper()
	dir, err := filepath.Abs(os.Getenv(variable))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(filepath.Join(dir, what)); os.Getenv(variable) == "" || err != nil {
		testenv.Missing(t, label)
	}
	return dir
}

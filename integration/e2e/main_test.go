// Package e2e tests shimward in a Kubernetes cluster as a series of stories, with kubelet, the
// control plane and a pod network as in a real cluster, on the kernel that the tests run on. `make
// e2e` starts the cluster and runs the stories in order.
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

// patience is how long a step of a story may take. It is generous because emulated CPUs are slow.
// No test asserts a duration.
const patience = 15 * time.Minute

// stage is where a story runs: the cluster and a namespace in it.
type stage struct {
	*cluster.Cluster
	namespace string
	prefix    string // where shimward is installed on the node
	engines   string // directory of containerd
	bin       string // directory of the binaries to install
	helm      string

	configVersion int // of containerd's config
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startCluster starts a cluster without shimward, installs shimward with the chart, and removes
// everything at the end of the test.
func startCluster(t *testing.T) *stage {
	t.Helper()
	testenv.Root(t)
	ctx := testContext(t)
	// The chart installs shimward here. containerd has the prefix's bin in PATH.
	prefix := t.TempDir()
	s := &stage{
		namespace: "stories", prefix: prefix,
		engines: folder(t, "SHIMWARD_ENGINES", "containerd and runc (scripts/build-tools engines)", "containerd"),
		bin:     folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "shimward"),
		helm:    filepath.Join(folder(t, "SHIMWARD_HELM", "helm (scripts/build-tools helm)", "helm"), "helm"),
	}
	containerd := containerdVersion(ctx, t, s.engines)
	s.configVersion = configVersion(containerd)
	// cmd/stories reads this line, for a column in docs/operations.md.
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

// containerdVersion returns the version that containerd reports, without the commit.
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

// configVersion returns the version of the config that a containerd release writes.
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

// hasUserNamespaces reports whether pods can have user namespaces: from containerd 2.0.
func (s *stage) hasUserNamespaces() bool { return s.configVersion > 2 }

// keepLogs copies the logs to the directory in SHIMWARD_LOGS if the test failed.
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

// makeNamespace creates a namespace that accepts every pod, and waits until it can accept one.
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

// folder returns the absolute path of the directory that the variable names, provided that it
// contains what.
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

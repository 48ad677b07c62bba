package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/integration/internal/cluster"
	"github.com/shimward/shimward/integration/internal/image"
)

// The chart, the namespaces of its pods and of those that clean up after it, and its image and
// label.
const (
	chart              = "../../deploy/helm/shimward"
	release            = "shimward"
	systemNamespace    = "shimward-system"
	uninstallNamespace = "shimward-uninstall"
	imageRepository    = "localhost/shimward/shimward"
	readyLabel         = "shimward.dev/runtime"
)

// install does what an administrator does with the chart: it creates the image, imports it on the
// node, installs the chart, and restarts containerd when told to, because systemd does not run this
// containerd.
func (s *stage) install(t *testing.T) {
	t.Helper()
	s.importImage(t, "first", s.bin)
	s.mustHelm(t, "install", release, chart, "--values="+s.values(t, "first"))
	s.restartWhenTold(t)
	s.awaitInstalled(t)
}

// importImage creates an image of the binaries and imports it on the node.
func (s *stage) importImage(t *testing.T, tag, bin string) {
	t.Helper()
	var archive bytes.Buffer
	if _, err := image.Write(&archive, imageRepository+":"+tag, bin); err != nil {
		t.Fatal(err)
	}
	names, err := s.Node.ImportForKubernetes(testContext(t), &archive)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, imageRepository+":"+tag) {
		t.Fatalf("imported %q", names)
	}
}

// values writes the chart's values for this node, and returns the file's path.
func (s *stage) values(t *testing.T, tag string) string {
	t.Helper()
	host, port := s.APIServer()
	text, err := json.Marshal(map[string]any{
		"image": map[string]any{"repository": imageRepository, "tag": tag, "pullPolicy": "Never"},
		"installer": map[string]any{
			"hostNetwork": true, "apiserver": map[string]any{"host": host, "port": strconv.Itoa(port)},
		},
		"node": map[string]any{
			"prefix": s.prefix, "config": s.Node.ConfigPath(),
			// The installer finds containerd's socket by itself.
			"containerd": map[string]any{
				"command": filepath.Join(s.engines, "containerd"), "config": s.Node.ContainerdConfigPath(), "restart": "operator",
			},
		},
		"uninstall": map[string]any{"patience": 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "values.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *stage) helmCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, s.helm, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	return cmd
}

func (s *stage) mustHelm(t *testing.T, args ...string) {
	t.Helper()
	if out, err := s.helmCommand(t, args...).CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v\n%s", args, err, out)
	}
}

// mustKubectl returns kubectl's output.
func (s *stage) mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.Kubectl(testContext(t), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// eventually polls until a condition holds that has no notification.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	ctx := testContext(t)
	ask := time.NewTicker(200 * time.Millisecond)
	defer ask.Stop()
	for {
		done, last := holds()
		if done {
			return
		}
		select {
		case <-ask.C:
		case <-ctx.Done():
			t.Fatalf("wait for %s: %s", what, last)
		}
	}
}

// restartWhenTold restarts containerd when the installer's log asks for it.
func (s *stage) restartWhenTold(t *testing.T) {
	t.Helper()
	eventually(t, "the installer to ask for a restart of containerd", func() (bool, string) {
		out, _ := s.Kubectl(testContext(t), "--namespace="+systemNamespace, "logs", "daemonset/shimward-installer", "--container=install").CombinedOutput()
		return strings.Contains(string(out), "now, on node "+cluster.NodeName+": systemctl restart containerd"), string(out)
	})
	if s.labelled(t) {
		t.Error("the node has its label before containerd has the runtime")
	}
	s.restartContainerd(t)
}

func (s *stage) restartContainerd(t *testing.T) {
	t.Helper()
	if err := s.Node.KillContainerd(); err != nil {
		t.Fatal(err)
	}
	if err := s.Node.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// awaitInstalled waits until the installer is done, which means that the node has its label.
func (s *stage) awaitInstalled(t *testing.T) {
	t.Helper()
	out, err := s.Kubectl(testContext(t), "--namespace="+systemNamespace, "rollout", "status", "daemonset/shimward-installer", "--timeout=15m").CombinedOutput()
	logs, _ := s.Kubectl(testContext(t), "--namespace="+systemNamespace, "logs", "daemonset/shimward-installer", "--container=install").CombinedOutput()
	if err != nil {
		described, _ := s.Kubectl(testContext(t), "--namespace="+systemNamespace, "describe", "pods").CombinedOutput()
		t.Fatalf("the installer: %v\n%s\n%s\n%s", err, out, logs, described)
	}
	if !s.labelled(t) {
		t.Fatalf("the node has no label:\n%s", logs)
	}
}

// labelled reports whether the node accepts pods of the runtime class.
func (s *stage) labelled(t *testing.T) bool {
	t.Helper()
	n, err := s.Client.CoreV1().Nodes().Get(testContext(t), cluster.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n.Labels[readyLabel] == "ready"
}

// version returns the directory of the node's current shimward.
func (s *stage) version(t *testing.T) string {
	t.Helper()
	target, err := os.Readlink(filepath.Join(s.prefix, "bin", "containerd-shim-shimward-v1"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(target)
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/integration/internal/cluster"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// tellInstalled checks the chart's installation. The apiserver must accept the plain manifests
// without a change, and the installer's token must permit only setting this node's one label.
func tellInstalled(t *testing.T, s *stage) {
	t.Helper()
	config := filepath.Join(filepath.Dir(s.Node.ContainerdConfigPath()), "conf.d", "shimward.toml")
	if s.configVersion == 2 { // containerd 1.7 does not merge drop-ins
		config = s.Node.ContainerdConfigPath()
	}
	if text, err := os.ReadFile(config); err != nil || !strings.Contains(string(text), "runtimes.shimward") {
		t.Errorf("the runtime is not in %s: %v\n%s", config, err, text)
	}
	s.mustKubectl(t, "apply", "--dry-run=server", "--filename=../../deploy")
	t.Run("a token of the installer's", func(t *testing.T) { s.wantNarrowToken(t) })
}

func (s *stage) wantNarrowToken(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	pods, err := s.Client.CoreV1().Pods(systemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods of the installer: %v", len(pods.Items), err)
	}
	token := s.mustKubectl(t, "--namespace="+systemNamespace, "create", "token", "shimward-installer",
		"--bound-object-kind=Pod", "--bound-object-name="+pods.Items[0].Name, "--bound-object-uid="+string(pods.Items[0].UID))
	installer, err := s.WithToken(strings.TrimSpace(token))
	if err != nil {
		t.Fatal(err)
	}
	// Without the labels that kubelet sets on a node, no DaemonSet creates a pod for it.
	other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if _, err := s.Client.CoreV1().Nodes().Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Client.CoreV1().Nodes().Delete(ctx, other.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	const own = `{"metadata":{"labels":{"shimward.dev/runtime":%s}}}`
	for _, test := range []struct{ name, node, patch, refused string }{
		{"its label", cluster.NodeName, fmt.Sprintf(own, `"ready"`), ""},
		{"away", cluster.NodeName, fmt.Sprintf(own, "null"), ""},
		{"its label, of another node", other.Name, fmt.Sprintf(own, `"ready"`), "no other"},
		{"another label", cluster.NodeName, `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, "nothing else"},
		{"another label away", cluster.NodeName, `{"metadata":{"labels":{"kubernetes.io/hostname":null}}}`, "nothing else"},
		{"an annotation", cluster.NodeName, `{"metadata":{"annotations":{"a":"b"}}}`, "nothing else"},
		{"a finalizer", cluster.NodeName, `{"metadata":{"finalizers":["example.com/never"]}}`, "nothing else"},
		{"an owner", cluster.NodeName, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"gone","uid":"0"}]}}`, "nothing else"},
		{"the spec", cluster.NodeName, `{"spec":{"unschedulable":true}}`, "nothing else"},
		{"the status", cluster.NodeName + "/status", `{"status":{"phase":"Running"}}`, "cannot patch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name, subresource, _ := strings.Cut(test.node, "/")
			_, err := installer.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(test.patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}},
				slices.DeleteFunc([]string{subresource}, func(s string) bool { return s == "" })...)
			switch {
			case test.refused == "" && err != nil:
				t.Error(err)
			case test.refused != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.refused)):
				t.Errorf("%v, want what says %q", err, test.refused)
			}
		})
	}
	for _, container := range pods.Items[0].Spec.Containers {
		if len(container.VolumeMounts) != 0 {
			t.Errorf("container %s, which has nothing to do, has mounts: %v", container.Name, container.VolumeMounts)
		}
	}
	if _, err := installer.CoreV1().Pods(systemNamespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing pods: %v, want it refused", err)
	}
}

// tellDoesNotHold checks that a node on which an attack gets through loses its label until none
// does.
func tellDoesNotHold(t *testing.T, s *stage) {
	t.Helper()
	if node.Tier() == access.TierLSM {
		testenv.Elsewhere(t, "no config of a node makes it weaker in the lsm tier")
	}
	if err := s.Node.SetConfig(`without_lsm = "audit"`); err != nil {
		t.Fatal(err)
	}
	s.mustKubectl(t, "--namespace="+systemNamespace, "rollout", "restart", "daemonset/shimward-installer")
	eventually(t, "the node to lose its label", func() (bool, string) {
		logs, _ := s.Kubectl(testContext(t), "--namespace="+systemNamespace, "logs", "daemonset/shimward-installer", "--container=install").CombinedOutput()
		return !s.labelled(t), string(logs)
	})
	eventually(t, "the installer to say what got through", func() (bool, string) {
		logs, _ := s.Kubectl(testContext(t), "--namespace="+systemNamespace, "logs", "daemonset/shimward-installer", "--container=install").CombinedOutput()
		return strings.Contains(string(logs), "GOT THROUGH") && strings.Contains(string(logs), "shimward held: false"), string(logs)
	})
	if s.installerRun(t) != "" {
		t.Error("the installer is done")
	}
	if err := s.Node.SetConfig(""); err != nil {
		t.Fatal(err)
	}
	s.mustKubectl(t, "--namespace="+systemNamespace, "delete", "pods", "--all")
	eventually(t, "the installer to run anew", func() (bool, string) { return s.installerRun(t) != "", "" })
	s.awaitInstalled(t)
}

// tellUninstalled checks that helm uninstall does nothing while a pod of the runtime class runs,
// and names that pod. Otherwise it must leave nothing behind, on the node and in the cluster.
func tellUninstalled(t *testing.T, s *stage) {
	t.Helper()
	p := s.run(t, sharedPID(pod("in-the-way", enforce(), victim(), idle("main"))))
	out, err := s.helmCommand(t, "uninstall", release).CombinedOutput()
	if err == nil || !strings.Contains(string(out), s.namespace+"/"+p.Name) {
		t.Fatalf("helm uninstall under a pod: %v, want an error that names it\n%s", err, out)
	}
	t.Logf("helm uninstall: %s", out)
	if !s.labelled(t) {
		t.Error("the node has lost its label")
	}
	s.wantAsBefore(t, p)
	s.remove(t, p.Name)
	s.mustHelm(t, "uninstall", release)
	s.wantNothingOfIt(t)
	left := func() (bool, string) {
		left := s.mustKubectl(t, "get", "namespaces,clusterroles,clusterrolebindings,runtimeclasses,validatingadmissionpolicies,validatingadmissionpolicybindings", "--output=name")
		return !strings.Contains(left, "shimward"), left
	}
	eventually(t, "the end of the chart's objects", left)

	// A guarded container that belongs to no pod blocks the uninstallation only on the node.
	s.restartContainerd(t)
	s.install(t)
	other, err := s.Node.RunDetached(testContext(t), node.Spec{Runtime: node.Shimward})
	if err != nil {
		t.Fatal(err)
	}
	out, err = s.helmCommand(t, "uninstall", release).CombinedOutput()
	if err == nil {
		t.Errorf("helm uninstall under a container:\n%s", out)
	}
	t.Logf("helm uninstall: %s", out)
	if result, err := other.Exec(testContext(t), "after", "/bin/true"); err != nil || result.Code != 0 {
		t.Errorf("the container after that: %v %v", result, err)
	}
	if err := other.Delete(testContext(t)); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of the chart's objects", left)
	s.mustHelm(t, "install", release, chart, "--values="+s.values(t, "first"))
	s.awaitInstalled(t)
	s.mustHelm(t, "uninstall", release)
	s.wantNothingOfIt(t)
}

// wantNothingOfIt checks that the node is as it was before the chart was installed.
func (s *stage) wantNothingOfIt(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.prefix, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left on the node: %q %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(s.Node.ContainerdConfigPath()), "conf.d")); err == nil {
		t.Error("containerd's conf.d was left")
	}
	if s.labelled(t) {
		t.Error("the node has its label yet")
	}
}

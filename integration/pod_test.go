package integration

import (
	"context"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

func TestPod(t *testing.T) {
	tryPod(t, startGuardedNode(t, node.Options{CRI: true}))
}

// tryPod tests a pod over containerd's CRI.
func tryPod(t *testing.T, n *node.Node) {
	t.Helper()
	client, done, err := n.CRI()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := done(); err != nil {
			t.Error(err)
		}
	})
	tryPodOver(t, n, client)
	wantNoLeaks(t, n)
}

// tryPodOver creates a pod over CRI, as kubelet does: two containers share a pid namespace with a
// third one, which they attack. It removes the pod.
func tryPodOver(t *testing.T, n *node.Node, client runtime.RuntimeServiceClient) {
	t.Helper()
	ctx := testContext(t)
	pod := podConfig(n, map[string]string{annotationMode: "enforce", annotationMode + ".watched": "audit"})
	sandbox, err := client.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: pod, RuntimeHandler: "shimward"})
	if err != nil {
		t.Fatal(err)
	}
	defer removePod(t, client, sandbox.GetPodSandboxId())

	start := func(name string, args ...string) string {
		t.Helper()
		created, err := client.CreateContainer(ctx, &runtime.CreateContainerRequest{
			PodSandboxId: sandbox.GetPodSandboxId(), SandboxConfig: pod, Config: podContainer(name, args),
		})
		if err != nil {
			t.Fatal(err)
		}
		id := created.GetContainerId()
		if _, err := client.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: id}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	start("victim", "/bin/shimward", "emulate", "victim")
	for name, stopped := range map[string]bool{"attacker": true, "watched": false} {
		t.Run(name, func(t *testing.T) {
			id := start(name)
			// The victim may not have planted its secret yet, in which case emulate exits with 2.
			result := execUntil(ctx, t, client, id, "/bin/shimward", "emulate", "--json", "proc-mem-read", "process-vm-readv")
			attacks := report(t, result)
			for _, r := range attacks.Results {
				if r.Through() == stopped {
					t.Error(tell(r))
				}
				e, err := n.WaitEvent(ctx, id, func(e event.Event) bool {
					return e.Kind == event.KindAccess && e.Access.Actor.PIDInside == r.Attacker
				})
				if err != nil {
					t.Fatal(err)
				}
				c, a := e.Container, e.Access
				if c.Name != name || c.Pod != "pod" || c.PodNamespace != "tests" || c.PodUID != "uid-1" || c.Image == "" {
					t.Errorf("the event's container is %+v", c)
				}
				if a.Relation != access.RelationSamePod || a.Vector != r.Access || a.Actor.Origin == nil || a.Actor.Origin.Kind != "exec" {
					t.Errorf("want %s at the same pod from an exec:\n%s", r.Access, describe([]event.Event{e}))
				}
			}
		})
	}
}

func podConfig(n *node.Node, annotations map[string]string) *runtime.PodSandboxConfig {
	return &runtime.PodSandboxConfig{
		Metadata:    &runtime.PodSandboxMetadata{Name: "pod", Namespace: "tests", Uid: "uid-1"},
		Annotations: annotations,
		Labels:      podLabels(),
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent: n.CgroupParent(),
			SecurityContext: &runtime.LinuxSandboxSecurityContext{
				// Use the host network, because there is no CNI here.
				NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE, Pid: runtime.NamespaceMode_POD},
			},
		},
	}
}

// podLabels returns kubelet's labels (kuberuntime/labels.go), by which CRI-O's runtime identifies a
// pod.
func podLabels() map[string]string {
	return map[string]string{"io.kubernetes.pod.name": "pod", "io.kubernetes.pod.namespace": "tests", "io.kubernetes.pod.uid": "uid-1"}
}

func podContainer(name string, args []string) *runtime.ContainerConfig {
	return &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: name},
		Labels:   with(podLabels(), map[string]string{"io.kubernetes.container.name": name}),
		Image:    &runtime.ImageSpec{Image: node.Image, UserSpecifiedImage: node.Image},
		Command:  args,
		Linux: &runtime.LinuxContainerConfig{
			SecurityContext: &runtime.LinuxContainerSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE, Pid: runtime.NamespaceMode_POD},
				Capabilities:     &runtime.Capability{AddCapabilities: []string{"SYS_PTRACE"}},
				Seccomp:          &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault},
			},
		},
	}
}

// execUntil runs a command in a container until its exit code is not 2.
func execUntil(ctx context.Context, t *testing.T, client runtime.RuntimeServiceClient, id string, command ...string) node.Result {
	t.Helper()
	for {
		out, err := client.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: id, Cmd: command})
		if err != nil {
			t.Fatal(err)
		}
		result := node.Result{Code: int(out.GetExitCode()), Stdout: string(out.GetStdout()), Stderr: string(out.GetStderr())}
		if result.Code != 2 {
			return result
		}
	}
}

func removePod(t *testing.T, client runtime.RuntimeServiceClient, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if _, err := client.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
	if _, err := client.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
}

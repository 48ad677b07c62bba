package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/shimward/shimward/integration/internal/node"
)

// The annotations that the stories set, and the runtime class that they test.
const (
	annotationMode     = "shimward.dev/mode"
	annotationProfile  = "shimward.dev/profile"
	annotationAllowPod = "shimward.dev/allow-pod"
	shimward           = "shimward"
)

// pod returns a pod under shimward that ends within a second when it is deleted. If annotations is
// nil, the pod runs under stock runc.
func pod(name string, annotations map[string]string, containers ...corev1.Container) *corev1.Pod {
	no, soon, class := false, int64(1), shimward
	made := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: corev1.PodSpec{
			Containers: containers, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			TerminationGracePeriodSeconds: &soon,
		},
	}
	if annotations != nil {
		made.Spec.RuntimeClassName = &class
	}
	return made
}

// container returns a container of the tests' image, with what an attacker needs where nothing
// stops it.
func container(name string, command ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: node.Image, ImagePullPolicy: corev1.PullNever, Command: command,
		SecurityContext: &corev1.SecurityContext{
			Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}},
		},
	}
}

// victim returns a container that keeps a secret until the pod is deleted.
func victim() corev1.Container { return container("victim", "/bin/shimward", "emulate", "victim") }

// idle returns a container that waits for an exec.
func idle(name string) corev1.Container { return container(name, "/bin/sleep", "1000000") }

func sharedPID(p *corev1.Pod) *corev1.Pod {
	yes := true
	p.Spec.ShareProcessNamespace = &yes
	return p
}

func enforce() map[string]string { return map[string]string{annotationMode: "enforce"} }

func enforceStrict() map[string]string {
	return map[string]string{annotationMode: "enforce", annotationProfile: "strict"}
}

// create creates a pod. At the end of the test, the pod is deleted and gone.
func (s *stage) create(t *testing.T, p *corev1.Pod) {
	t.Helper()
	ctx := testContext(t)
	if _, err := s.Client.CoreV1().Pods(s.namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.Kubectl(context.WithoutCancel(ctx), "--namespace="+s.namespace, "describe", "pod", p.Name).CombinedOutput()
			t.Logf("%s", out)
		}
		s.remove(t, p.Name)
	})
}

// run creates a pod and waits until all of its containers are ready.
func (s *stage) run(t *testing.T, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	s.create(t, p)
	return s.wait(t, p.Name, func(p *corev1.Pod) (bool, error) {
		if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
			return false, fmt.Errorf("pod %s is %s: %v", p.Name, p.Status.Phase, p.Status.ContainerStatuses)
		}
		return ready(p), nil
	})
}

// end creates a pod and waits until it has ended.
func (s *stage) end(t *testing.T, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	s.create(t, p)
	return s.wait(t, p.Name, func(p *corev1.Pod) (bool, error) {
		return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded, nil
	})
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// wait watches a pod until it is as wanted.
func (s *stage) wait(t *testing.T, name string, wanted func(*corev1.Pod) (bool, error)) *corev1.Pod {
	t.Helper()
	p, err := s.watch(testContext(t), name, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *stage) watch(ctx context.Context, name string, wanted func(*corev1.Pod) (bool, error)) (*corev1.Pod, error) {
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	// Without a resource version to start from, the watch begins with what already exists.
	changes, err := s.Client.CoreV1().Pods(s.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, err
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		p, ok := change.Object.(*corev1.Pod)
		if !ok {
			return nil, apierrors.FromObject(change.Object)
		}
		if change.Type == watch.Deleted {
			return nil, fmt.Errorf("pod %s was deleted", name)
		}
		if done, err := wanted(p); err != nil || done {
			return p, err
		}
	}
	return nil, fmt.Errorf("wait for pod %s: %w", name, errors.Join(ctx.Err(), errors.New("the watch ended")))
}

// remove deletes a pod and waits until it is gone.
func (s *stage) remove(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	out, err := s.Kubectl(ctx, "--namespace="+s.namespace, "delete", "pod", name, "--wait", "--ignore-not-found").CombinedOutput()
	if err != nil {
		t.Errorf("delete pod %s: %v\n%s", name, err, out)
	}
}

// id returns containerd's ID of a container in a pod.
func id(t *testing.T, p *corev1.Pod, name string) string {
	t.Helper()
	all := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses)
	for _, status := range all {
		if status.Name == name && status.ContainerID != "" {
			return strings.TrimPrefix(status.ContainerID, "containerd://")
		}
	}
	t.Fatalf("pod %s has no container %s: %v", p.Name, name, all)
	return ""
}

// exec does what kubectl exec does.
func (s *stage) exec(t *testing.T, p *corev1.Pod, name string, command ...string) node.Result {
	t.Helper()
	args := append([]string{"--namespace=" + s.namespace, "exec", p.Name, "--container=" + name, "--"}, command...)
	cmd := s.Kubectl(testContext(t), args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return node.Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: errs.String()}
}

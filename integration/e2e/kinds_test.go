package e2e

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
)

// inner returns a container that attacks a victim within itself, and exits with 0 if nothing got
// through.
func inner(name string) corev1.Container {
	return container(name, append([]string{"/bin/shimward", "emulate", "--spawn"}, vectors()...)...)
}

// tellInit checks that an init container is guarded like any other, and that the pod continues
// after it.
func tellInit(t *testing.T, s *stage) {
	t.Helper()
	initial := func(name string, annotations map[string]string) *corev1.Pod {
		p := pod(name, annotations, container("main", "/bin/true"))
		p.Spec.InitContainers = []corev1.Container{inner("first")}
		return p
	}
	t.Run("stock runc", func(t *testing.T) { wantPhase(t, s.end(t, initial("stock-init", nil)), corev1.PodFailed) })
	t.Run("shimward", func(t *testing.T) {
		p := s.end(t, initial("init", enforceStrict()))
		wantPhase(t, p, corev1.PodSucceeded)
		s.wantRefused(t, id(t, p, "first"), access.RelationSameContainer)
	})
}

// tellSidecar tests a restartable init container whose secret a main container tries to read.
func tellSidecar(t *testing.T, s *stage) {
	t.Helper()
	beside := func(name string, annotations map[string]string) *corev1.Pod {
		always := corev1.ContainerRestartPolicyAlways
		sidecar := victim()
		sidecar.RestartPolicy = &always
		p := sharedPID(pod(name, annotations, attacker("main")))
		p.Spec.InitContainers = []corev1.Container{sidecar}
		return p
	}
	t.Run("stock runc", func(t *testing.T) { wantPhase(t, s.end(t, beside("stock-sidecar", nil)), corev1.PodFailed) })
	t.Run("shimward", func(t *testing.T) {
		p := s.end(t, beside("sidecar", enforce()))
		wantPhase(t, p, corev1.PodSucceeded)
		s.wantRefused(t, id(t, p, "main"), access.RelationSamePod)
	})
}

// tellJob tests the pod of a Job, which the control plane creates.
func tellJob(t *testing.T, s *stage) {
	t.Helper()
	ctx := testContext(t)
	never := int32(0)
	template := pod("", enforceStrict(), inner("main"))
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{
		BackoffLimit: &never,
		Template:     corev1.PodTemplateSpec{ObjectMeta: template.ObjectMeta, Spec: template.Spec},
	}}
	if _, err := s.Client.BatchV1().Jobs(s.namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := s.Kubectl(ctx, "--namespace="+s.namespace, "wait", "job/job", "--for=condition=Complete", "--timeout=3m").CombinedOutput()
	if err != nil {
		t.Errorf("wait for the job: %v\n%s", err, out)
	}
	pods, err := s.Client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name=job"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods of the job: %v", len(pods.Items), err)
	}
	s.wantRefused(t, id(t, &pods.Items[0], "main"), access.RelationSameContainer)
	if out, err := s.Kubectl(ctx, "--namespace="+s.namespace, "delete", "job", "job", "--cascade=foreground").CombinedOutput(); err != nil {
		t.Errorf("delete the job: %v\n%s", err, out)
	}
}

// tellProbe tests an exec probe, which enters the container like kubectl exec. The probe succeeds
// when its attack is refused, and that makes the pod ready.
func tellProbe(t *testing.T, s *stage) {
	t.Helper()
	probed := idle("main")
	probed.ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: inner("").Command}},
		PeriodSeconds: 1, TimeoutSeconds: 60,
	}
	p := s.run(t, pod("probed", enforceStrict(), probed))
	e, err := s.Node.WaitEvent(testContext(t), id(t, p, "main"), func(e event.Event) bool { return e.Kind == event.KindAccess })
	if err != nil {
		t.Fatal(err)
	}
	if origin := e.Access.Actor.Origin; origin == nil || origin.Kind != "exec" || origin.ExecID == "" {
		t.Errorf("the event does not name the probe's exec: %+v", origin)
	}
}

func wantPhase(t *testing.T, p *corev1.Pod, want corev1.PodPhase) {
	t.Helper()
	if p.Status.Phase != want {
		t.Errorf("pod %s is %s, want %s: %+v %+v", p.Name, p.Status.Phase, want, p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
	}
}

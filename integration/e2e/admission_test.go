package e2e

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// tellAdmission tests that the apiserver decides who may set which annotations
// (deploy/admission.yaml), with users who have the RBAC rights and users who do not.
func tellAdmission(t *testing.T, s *stage) {
	t.Helper()
	ctx := testContext(t)
	s.makeNamespace(ctx, t, "plain", nil)
	s.awaitPolicy(t)
	s.grant(t, "everybody-edits", []string{"dev", "debugger"}, rbacv1.PolicyRule{
		APIGroups: []string{"", "apps", "batch"}, Verbs: []string{"create", "update", "get"},
		Resources: []string{"pods", "deployments", "cronjobs"},
	})
	s.grant(t, "may-debug", []string{"debugger"},
		rbacv1.PolicyRule{APIGroups: []string{"shimward.dev"}, Verbs: []string{"use"}, Resources: []string{"exceptions"}, ResourceNames: []string{"allow-pod"}},
		rbacv1.PolicyRule{APIGroups: []string{"shimward.dev"}, Verbs: []string{"use"}, Resources: []string{"modes"}, ResourceNames: []string{"audit"}},
		rbacv1.PolicyRule{APIGroups: []string{"shimward.dev"}, Verbs: []string{"use"}, Resources: []string{"profiles"}, ResourceNames: []string{"debuggable"}},
	)
	for _, test := range []struct {
		name, user  string
		annotations map[string]string
		refused     string // part of the error message; permitted if empty
	}{
		{"nothing", "dev", nil, ""},
		{"of others", "dev", map[string]string{"example.com/mode": "off"}, ""},
		{"more", "dev", map[string]string{annotationMode: "enforce", annotationMode + ".web": "enforce", annotationProfile: "strict"}, ""},
		{"off", "dev", map[string]string{annotationMode: "off"}, "modes/off"},
		{"off for one container", "dev", map[string]string{annotationMode: "enforce", annotationMode + ".web": "off"}, "modes/off"},
		{"audit", "dev", map[string]string{annotationMode: "audit"}, "modes/audit"},
		{"audit, with the right", "debugger", map[string]string{annotationMode: "audit"}, ""},
		{"off, with the right to another mode", "debugger", map[string]string{annotationMode: "off"}, "modes/off"},
		{"exception", "dev", map[string]string{"shimward.dev/allow": "/usr/bin/gdb"}, "exceptions/allow "},
		{"exception for the pod", "dev", map[string]string{annotationAllowPod + ".web": "/usr/bin/gdb"}, "exceptions/allow-pod "},
		{"exception for the pod, with the right", "debugger", map[string]string{annotationAllowPod + ".web": "/usr/bin/gdb"}, ""},
		{"exception, with the right to the other", "debugger", map[string]string{"shimward.dev/allow": "/usr/bin/gdb"}, "exceptions/allow "},
		{"profile of the node's", "dev", map[string]string{annotationProfile: "debuggable"}, "profiles of that name"},
		{"profile of the node's, with the right", "debugger", map[string]string{annotationProfile: "debuggable", annotationProfile + ".web": "debuggable"}, ""},
		{"another profile than the right is for", "debugger", map[string]string{annotationProfile: "lax"}, "profiles of that name"},
		{"two profiles, one without the right", "debugger", map[string]string{annotationProfile: "debuggable", annotationProfile + ".web": "lax"}, "profiles of that name"},
		{"unknown key", "dev", map[string]string{"shimward.dev/mod": "enforce"}, "knows no annotation shimward.dev/mod"},
		{"prefix in other letters", "dev", map[string]string{"Shimward.dev/mode": "enforce"}, "knows no annotation Shimward.dev/mode"},
		{"misspelt mode", "dev", map[string]string{annotationMode: "enforced"}, "write off, audit or enforce"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := s.As(test.user, "system:authenticated")
			if err != nil {
				t.Fatal(err)
			}
			for kind, create := range creators() {
				err := create(t, client, test.annotations)
				switch {
				case test.refused == "" && err != nil:
					t.Errorf("%s as %s: %v", kind, test.user, err)
				case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
					t.Errorf("%s as %s: %v, want what says %q", kind, test.user, err, test.refused)
				}
			}
		})
	}
	t.Run("what was there before stays", func(t *testing.T) { s.keepsAnnotations(t) })
	t.Run("the control plane makes what a user may", func(t *testing.T) { s.makesPods(t) })
}

// awaitPolicy waits until the apiserver enforces the policy, which it reads some time after
// accepting it.
func (s *stage) awaitPolicy(t *testing.T) {
	t.Helper()
	ask := time.NewTicker(100 * time.Millisecond)
	defer ask.Stop()
	deadline := time.After(2 * time.Minute)
	for {
		// Nobody may set this.
		err := creators()["pod"](t, s.Client, map[string]string{annotationMode: "misspelt"})
		if err != nil && strings.Contains(err.Error(), "write off, audit or enforce") {
			return
		}
		select {
		case <-ask.C:
		case <-deadline:
			t.Fatalf("the admission policy is not in force: the apiserver said %v", err)
		}
	}
}

// creators returns functions that try, as a dry run, to create an object that makes pods with the
// given annotations.
func creators() map[string]func(*testing.T, kubernetes.Interface, map[string]string) error {
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	return map[string]func(*testing.T, kubernetes.Interface, map[string]string) error{
		"pod": func(t *testing.T, client kubernetes.Interface, annotations map[string]string) error {
			t.Helper()
			_, err := client.CoreV1().Pods("plain").Create(t.Context(), pod("web", annotations, idle("web")), dry)
			return err
		},
		"deployment": func(t *testing.T, client kubernetes.Interface, annotations map[string]string) error {
			t.Helper()
			_, err := client.AppsV1().Deployments("plain").Create(t.Context(), deployment(annotations), dry)
			return err
		},
		"cronjob": func(t *testing.T, client kubernetes.Interface, annotations map[string]string) error {
			t.Helper()
			_, err := client.BatchV1().CronJobs("plain").Create(t.Context(), &batchv1.CronJob{
				ObjectMeta: metav1.ObjectMeta{Name: "web"},
				Spec: batchv1.CronJobSpec{Schedule: "@yearly", JobTemplate: batchv1.JobTemplateSpec{
					Spec: batchv1.JobSpec{Template: template(annotations, corev1.RestartPolicyNever)},
				}},
			}, dry)
			return err
		},
	}
}

// template returns a template of pods with these annotations.
func template(annotations map[string]string, restart corev1.RestartPolicy) corev1.PodTemplateSpec {
	spec := pod("web", annotations, idle("web")).Spec
	spec.RestartPolicy = restart
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations, Labels: map[string]string{"app": "web"}}, Spec: spec,
	}
}

func deployment(annotations map[string]string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: template(annotations, corev1.RestartPolicyAlways),
		},
	}
}

// makesPods checks that a Deployment which its user may create results in a ReplicaSet and a pod,
// although the controllers that create these do not have the user's rights.
func (s *stage) makesPods(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	debugger, err := s.As("debugger", "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	made := deployment(map[string]string{annotationMode: "audit", annotationAllowPod: "/bin/shimward"})
	if _, err := debugger.AppsV1().Deployments("plain").Create(ctx, made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := s.Kubectl(ctx, "--namespace=plain", "wait", "deployment/web", "--for=condition=Available", "--timeout=1m").CombinedOutput()
	if err != nil {
		t.Errorf("wait for the deployment: %v\n%s", err, out)
	}
	out, err = s.Kubectl(ctx, "--namespace=plain", "delete", "deployment", "web", "--cascade=foreground").CombinedOutput()
	if err != nil {
		t.Errorf("delete the deployment: %v\n%s", err, out)
	}
}

// keepsAnnotations checks that a user who could not have created an administrator's pod can edit it
// as long as its annotations stay the same.
func (s *stage) keepsAnnotations(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	made := pod("kept", map[string]string{annotationMode: "audit"}, idle("web"))
	made.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "shimward.dev/never"}} // it need not run
	made, err := s.Client.CoreV1().Pods("plain").Create(ctx, made, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := s.As("dev", "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	made.Labels = map[string]string{"edited": "yes"}
	if made, err = dev.CoreV1().Pods("plain").Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("an edit of something else: %v", err)
	}
	made.Annotations[annotationMode] = "off"
	if _, err := dev.CoreV1().Pods("plain").Update(ctx, made, metav1.UpdateOptions{}); err == nil {
		t.Error("an edit to mode=off was let through")
	}
}

// grant creates a role with these rules and binds users to it in namespace plain.
func (s *stage) grant(t *testing.T, name string, users []string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	rbac := s.Client.RbacV1()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	if _, err := rbac.Roles("plain").Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}
	for _, user := range users {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user})
	}
	if _, err := rbac.RoleBindings("plain").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// tellRefused checks that a pod which shimward cannot accept does not start, and that kubectl
// describe tells what to write instead. The namespace is one where the admission policy does not
// refuse it first.
func tellRefused(t *testing.T, s *stage) {
	t.Helper()
	for _, test := range []struct{ name, key, value, want string }{
		{"mode", annotationMode, "enforced", `write "off", "audit" or "enforce"`},
		{"key", "shimward.dev/mod", "enforce", "unknown key, write one of mode, profile, allow or allow-pod"},
		{"profile", annotationProfile, "nowhere", "nowhere"},
		{"path", "shimward.dev/allow", "gdb", "absolute"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := testContext(t)
			p := pod("refused-"+test.name, map[string]string{test.key: test.value}, idle("main"))
			s.create(t, p)
			events, err := s.Client.CoreV1().Events(s.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + p.Name})
			if err != nil {
				t.Fatal(err)
			}
			defer events.Stop()
			for e := range events.ResultChan() {
				if message, refused := refusal(e.Object); refused {
					if !strings.Contains(message, test.want) {
						t.Errorf("the event says %q, want %q in it", message, test.want)
					}
					t.Logf("kubectl describe: %s", message)
					return
				}
			}
			t.Fatal("no event says why the pod does not start")
		})
	}
}

// refusal returns the message of an event about a pod or a container that could not be created.
func refusal(object runtime.Object) (message string, refused bool) {
	e, ok := object.(*corev1.Event)
	if !ok || e.Type != corev1.EventTypeWarning {
		return "", false
	}
	return e.Message, e.Reason == "FailedCreatePodSandBox" || e.Reason == "Failed"
}

package policy

import "testing"

func TestIdentityOfOtherEngines(t *testing.T) {
	crio := map[string]string{
		crioContainerType: "container", crioSandboxID: "5a", crioSandboxName: "web-0", crioSandboxNS: "vault",
		crioImageName: "nginx:1", kubeletName: "app", kubeletUID: "0-1-2",
	}
	for name, test := range map[string]struct {
		annotations map[string]string
		want        Identity // without its key, ID, namespace and bundle
	}{
		"of CRI-O":           {crio, Identity{Name: "app", Image: "nginx:1", Pod: "web-0", PodNamespace: "vault", PodUID: "0-1-2", Sandbox: "5a"}},
		"a sandbox of CRI-O": {map[string]string{crioContainerType: criTypeSandbox, crioSandboxNS: "vault"}, Identity{PodNamespace: "vault", Sandbox: "abc"}},
		"of a Podman pod":    {map[string]string{crioContainerType: "container", crioSandboxID: "5a"}, Identity{Sandbox: "5a"}},
		"of no pod":          {nil, Identity{}},
		"of containerd, whatever else is written": {
			map[string]string{criContainerType: "container", criSandboxNS: "prod-1", crioSandboxNS: "lax", crioSandboxID: "5b"},
			Identity{PodNamespace: "prod-1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{ID: "abc", Namespace: "runc", Bundle: "/b", Annotations: test.annotations}
			got, err := f.identity()
			if err != nil {
				t.Fatal(err)
			}
			test.want.Key, test.want.ID, test.want.Namespace, test.want.Bundle = Key("abc", "/b"), "abc", "runc", "/b"
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	// A floor of the pod's namespace holds.
	config := mustParse(t, testConfig)
	plan, err := config.Plan(Facts{ID: "abc", Namespace: "runc", Bundle: "/b", Annotations: crio})
	if err != nil || plan.Mode != ModeEnforce || plan.Profile != ProfileStrict {
		t.Errorf("got %+v, %v", plan, err)
	}
}

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
		"a sandbox of CRI-O": {map[string]string{crioContainerType: criTypeSandbox, crioSandboxNS: "vault", crioSandboxID: "abc"}, Identity{PodNamespace: "vault", Sandbox: "abc"}},
		// Under CRI-O, the pod's author can write these.
		"a sandbox in another's": {map[string]string{crioContainerType: criTypeSandbox, crioSandboxID: "of another pod"}, Identity{Sandbox: "abc"}},
		"a namespace of one's own": {
			map[string]string{crioContainerType: "container", crioSandboxID: "5a", crioSandboxNS: "vault", "io.kubernetes.cri-o.Namespace": "lax"},
			Identity{PodNamespace: "vault", Sandbox: "5a"},
		},
		"of a Podman pod": {map[string]string{crioContainerType: "container", crioSandboxID: "5a"}, Identity{Sandbox: "5a"}},
		"of no pod":       {nil, Identity{}},
		"of containerd, whatever else is written": {
			map[string]string{criContainerType: "container", criSandboxNS: "prod-1", crioSandboxNS: "lax"},
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
	for name, annotations := range map[string]map[string]string{
		"of two engines":                {crioContainerType: "container", crioSandboxID: "5a", criSandboxID: "of another pod"},
		"of two engines, the other way": {criContainerType: "container", criSandboxID: "5a", crioSandboxID: "of another pod"},
	} {
		f := Facts{ID: "abc", Namespace: "runc", Bundle: "/b", Annotations: annotations}
		if got, err := f.identity(); err == nil {
			t.Errorf("%s: took it for %+v", name, got)
		}
	}
	// A floor on the pod's namespace applies.
	config := mustParse(t, testConfig)
	plan, err := config.Plan(Facts{ID: "abc", Namespace: "runc", Bundle: "/b", Annotations: crio})
	if err != nil || plan.Mode != ModeEnforce || plan.Profile != ProfileStrict {
		t.Errorf("got %+v, %v", plan, err)
	}
}

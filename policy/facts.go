package policy

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The annotations that containerd's CRI plugin adds to a spec.
const (
	criContainerType = "io.kubernetes.cri.container-type"
	criContainerName = "io.kubernetes.cri.container-name"
	criImageName     = "io.kubernetes.cri.image-name"
	criSandboxID     = "io.kubernetes.cri.sandbox-id"
	criSandboxName   = "io.kubernetes.cri.sandbox-name"
	criSandboxNS     = "io.kubernetes.cri.sandbox-namespace"
	criSandboxUID    = "io.kubernetes.cri.sandbox-uid"

	criTypeSandbox = "sandbox"
)

// The corresponding annotations of CRI-O (its pkg/annotations); the last four are the kubelet's
// labels. Podman adds the type and the sandbox ID to a container in a pod.
const (
	crioContainerType = "io.kubernetes.cri-o.ContainerType"
	crioImageName     = "io.kubernetes.cri-o.ImageName"
	crioSandboxID     = "io.kubernetes.cri-o.SandboxID"
	crioSandboxName   = "io.kubernetes.pod.name"      // the kubelet's labels, which CRI-O writes last;
	crioSandboxNS     = "io.kubernetes.pod.namespace" // a pod can choose the values of CRI-O's own KubeName and Namespace
	kubeletName       = "io.kubernetes.container.name"
	kubeletUID        = "io.kubernetes.pod.uid"
)

const (
	maxNamespace = 253 // of a DNS subdomain; Kubernetes' own limit for a namespace is lower
	maxFact      = 1024
)

// Facts is what is known about a container before it is created.
type Facts struct {
	ID          string            // the engine's container ID
	Namespace   string            // containerd's namespace; for other engines, the last element of the path of runc's state
	Bundle      string            // absolute path of the OCI bundle
	Annotations map[string]string // the spec's annotations
}

// sandbox reports whether the container is a pod's pause container.
func (f *Facts) sandbox() bool { return f.say(criContainerType, crioContainerType) == criTypeSandbox }

// say returns the engine's value for one of two annotations: CRI-O's counts only if there is no
// annotation of containerd's.
func (f *Facts) say(containerd, crio string) string {
	for name := range f.Annotations {
		if strings.HasPrefix(name, "io.kubernetes.cri.") {
			return f.Annotations[containerd]
		}
	}
	return f.Annotations[crio]
}

func (f *Facts) identity() (Identity, error) {
	identity := Identity{
		Key:          Key(f.ID, f.Bundle),
		ID:           f.ID,
		Namespace:    f.Namespace,
		Bundle:       f.Bundle,
		Name:         f.say(criContainerName, kubeletName),
		Image:        f.say(criImageName, crioImageName),
		Pod:          f.say(criSandboxName, crioSandboxName),
		PodNamespace: f.say(criSandboxNS, crioSandboxNS),
		PodUID:       f.say(criSandboxUID, kubeletUID),
		Sandbox:      f.say(criSandboxID, crioSandboxID),
	}
	if err := f.checkEngine(); err != nil {
		return identity, err
	}
	if f.sandbox() {
		identity.Sandbox = f.ID // regardless of the annotation: under CRI-O the pod's author can override it
	}
	return identity, identity.check()
}

// checkEngine rejects a spec with annotations of two engines: one of the two decides whose the
// container is, and the other was written by the pod's author.
func (f *Facts) checkEngine() error {
	var containerd, crio string
	for name := range f.Annotations {
		switch {
		case strings.HasPrefix(name, "io.kubernetes.cri."):
			containerd = name
		case name == crioContainerType, name == crioSandboxID, name == crioImageName:
			crio = name
		}
	}
	if containerd != "" && crio != "" {
		return fmt.Errorf("the annotations %s and %s belong to two container engines: remove the one that the engine has not written", quote(containerd), quote(crio))
	}
	return nil
}

func (i *Identity) check() error {
	for _, fact := range []struct {
		what, value string
		most        int
	}{
		{"container ID", i.ID, maxNamespace},
		{"containerd namespace", i.Namespace, maxNamespace},
		{"bundle path", i.Bundle, maxPath},
		{"annotation " + criContainerName, i.Name, maxFact},
		{"annotation " + criImageName, i.Image, maxFact},
		{"annotation " + criSandboxName, i.Pod, maxFact},
		{"annotation " + criSandboxNS, i.PodNamespace, maxNamespace},
		{"annotation " + criSandboxUID, i.PodUID, maxFact},
		{"annotation " + criSandboxID, i.Sandbox, maxFact},
	} {
		if len(fact.value) > fact.most || !printable(fact.value) {
			return fmt.Errorf("the %s is %s: it must be printable and at most %d bytes long", fact.what, quote(fact.value), fact.most)
		}
	}
	if i.ID == "" {
		return errors.New("the container has no ID")
	}
	if !filepath.IsAbs(i.Bundle) {
		return fmt.Errorf("the bundle's path is %s: it must be absolute", quote(i.Bundle))
	}
	// In a pattern, * does not match a slash, so a namespace with a slash could escape every floor.
	if strings.Contains(i.floorNamespace(), "/") {
		return fmt.Errorf("the namespace is %s: no namespace has a slash in its name", quote(i.floorNamespace()))
	}
	return nil
}

// floorNamespace returns the namespace that floors are matched against.
func (i *Identity) floorNamespace() string {
	if i.PodNamespace != "" {
		return i.PodNamespace
	}
	return i.Namespace
}

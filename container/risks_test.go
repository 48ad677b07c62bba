package container

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/policy"
)

// A pod with hostPID refers to the node's pid namespace by a path: that of its sandbox's init.
func TestNodePIDPaths(t *testing.T) {
	link := filepath.Join(t.TempDir(), "ns")
	if err := os.Symlink("/proc/self/ns/pid", link); err != nil {
		t.Fatal(err)
	}
	namespaces := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.PIDNamespace, Path: link},
		{Type: specs.PIDNamespace, Path: "/proc/self/ns/mnt"},
		{Type: specs.PIDNamespace, Path: "/nothing"},
		{Type: specs.NetworkNamespace, Path: "/proc/self/ns/pid"},
	}
	spec := &policy.Spec{Linux: &policy.SpecLinux{Namespaces: namespaces}}
	if got := nodePIDPaths(spec); !slices.Equal(got, []string{link}) {
		t.Errorf("got %v", got)
	}
	if got := nodePIDPaths(&policy.Spec{}); got != nil {
		t.Errorf("without namespaces: %v", got)
	}
}

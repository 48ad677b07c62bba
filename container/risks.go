package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// findRisks returns what in a spec bypasses what shimward protects. It returns an error if the plan
// refuses that.
func findRisks(spec *policy.Spec, plan *policy.Plan) ([]policy.Finding, error) {
	spec.NodePID = nodePIDPaths(spec)
	risks := plan.Paths.Risks(spec)
	return risks, plan.CheckRisks(risks)
}

// nodePIDPaths returns the paths of those of a spec's pid namespaces that are this process's, which
// is the node's.
func nodePIDPaths(spec *policy.Spec) []string {
	if spec.Linux == nil {
		return nil
	}
	var own, other unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &own) != nil {
		return nil
	}
	var found []string
	for _, namespace := range spec.Linux.Namespaces {
		if namespace.Type == specs.PIDNamespace && namespace.Path != "" && unix.Stat(namespace.Path, &other) == nil &&
			own.Dev == other.Dev && own.Ino == other.Ino {
			found = append(found, namespace.Path)
		}
	}
	return found
}

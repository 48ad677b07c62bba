package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// HostArchitectures are the ones whose system calls this host's kernel takes,
// the native one first.
func HostArchitectures() []specs.Arch { return slices.Clone(hostArchitectures[:]) }

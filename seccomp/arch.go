package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// HostArchitectures returns the architectures whose system calls this host's kernel accepts, the
// native one first.
func HostArchitectures() []specs.Arch { return slices.Clone(hostArchitectures[:]) }

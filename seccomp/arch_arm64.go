package seccomp

import specs "github.com/opencontainers/runtime-spec/specs-go"

var hostArchitectures = [...]specs.Arch{specs.ArchAARCH64, specs.ArchARM}

package seccomp

import specs "github.com/opencontainers/runtime-spec/specs-go"

// i386 and x32 are listed whether or not this kernel supports them: if it does not, a rule for them
// costs nothing.
var hostArchitectures = [...]specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}

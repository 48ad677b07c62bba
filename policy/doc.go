// Package policy combines a node's config, a container's annotations and the facts of its spec into
// one Plan, and decides accesses by that Plan.
//
// It defines the meaning of config.toml and of the shimward.dev annotations, the built-in profiles,
// the floors, and the names of everything that shimward keeps on a node (Paths, Key). It is pure:
// it reads no file, makes no system call and does not depend on containerd. Callers pass it bytes
// and strings, all of which it treats as hostile: every input is bounded, and what it does not
// understand it rejects with a message that says what to write instead.
package policy

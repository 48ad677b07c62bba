// Package policy turns what a node's config, a container's annotations and the
// facts of its spec say into one Plan, and answers from that Plan what becomes
// of an access.
//
// It owns the meaning of config.toml and of the shimward.dev annotations, the
// built-in profiles, the floors, and the names of everything that shimward
// keeps on a node (Paths, Key). It is pure: it reads no file, asks no kernel
// and knows no containerd. Whoever calls it hands it bytes and strings, all of
// which it takes for hostile: everything is bounded, and what is not
// understood is refused with a sentence that says what to write instead.
package policy

// Package verify tries on a node whether shimward holds there: it lets the
// emulation loose in containers of its own, on the containerd that the node runs,
// and holds what became of the attacks against what the node's tier promises.
package verify

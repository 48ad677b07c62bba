// Package verify checks whether shimward holds on a node. It runs the attacks of package emulate in
// containers of its own, on the node's containerd, and compares the results with what the node's
// tier promises.
package verify

// Package shim wraps containerd's runc shim: it is runc's task service and
// shim manager with what shimward adds around their calls.
//
// It owns the order of things: a container is planned and prepared at Create,
// watched from Start on, and let go of at Delete, or by the `delete` command
// where the shim is gone. What it does to a container is package container's.
//
// A shim serves all containers of a pod.
package shim

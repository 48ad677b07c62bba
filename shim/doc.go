// Package shim wraps containerd's runc shim: it consists of runc's task service and shim manager,
// with what shimward adds around their calls.
//
// It determines the order of the steps: a container is planned and prepared at Create, watched from
// Start on, and released at Delete, or by the `delete` command if the shim is gone. The steps
// themselves are in package container.
//
// A shim serves all containers of a pod.
package shim

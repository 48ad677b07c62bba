// Package ociruntime is shimward for engines that start an OCI runtime rather than a shim: Docker,
// Podman, CRI-O, and the stock runc shim of any containerd. `shimward runc` wraps the real runc:
// when a container is to be created, it has the container planned and its spec edited, and then
// execs runc.
//
// What a shim hosts for a container (its listener and its records) is hosted by a monitor here: one
// process per container, which is started before the runtime and ends when the container is
// deleted. What either of them does to a container is in package container.
package ociruntime

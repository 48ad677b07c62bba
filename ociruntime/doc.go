// Package ociruntime is shimward for engines that start an OCI runtime and no
// shim: Docker, Podman, CRI-O, and the stock runc shim of any containerd. `shimward
// runc` stands in front of the real runc: where a container is to be created, it
// has the container planned and its spec edited, and then becomes runc.
//
// What a shim hosts for a container, its listener and its records, is hosted by a
// monitor: one process for a container, that is started before the runtime and ends
// when the container is deleted. What either does to a container is package
// container's.
package ociruntime

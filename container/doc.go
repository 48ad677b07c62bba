// Package container is what shimward has of a guarded container besides what
// the runtime has, whoever hosts it: the shim, or the monitor of a container
// whose engine starts OCI runtimes.
//
// It owns a container's life as shimward sees it: what is made before the
// runtime creates it, the edit of its spec, the seccomp listener, the kernel's
// records and the listener's answers as events, and what is let go of at its
// end, however that comes. It does not own what is refused (policy), how an
// event is stored (event), what the kernel does (bpf), or what a notification
// means (seccomp), and it speaks to no engine.
//
// Its host's memory counts on every container of a node, so it loads no
// programs and no kernel types: the createRuntime hook does, whose process ends.
package container

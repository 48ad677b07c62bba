// Package container implements what shimward has of a guarded container in addition to what the
// runtime has, whichever process hosts it: the shim, or the monitor of a container whose engine
// starts OCI runtimes.
//
// It owns the container's life cycle as shimward sees it: what is created before the runtime
// creates the container, the edit of its spec, the seccomp listener, turning the kernel's records
// and the listener's answers into events, and releasing everything at the container's end, however
// that comes about. It does not own what is refused (policy), how an event is stored (event), what
// the kernel does (bpf), or what a notification means (seccomp), and it talks to no engine.
//
// The host process's memory is used once for every container of a node, so this package keeps no kernel
// types: only the first host after a boot loads programs, and it gives back what that took.
package container

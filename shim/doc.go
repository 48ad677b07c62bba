// Package shim wraps containerd's runc shim: it is runc's task service and
// shim manager with what shimward adds around their calls.
//
// It owns a container's life as shimward sees it: the Plan is made at Create,
// the spec is edited, the seccomp listener is opened and served, the kernel's
// records and the listener's answers become events, and what is left of a
// container goes with it, however it ends. It does not own what is refused
// (policy), how an event is stored (event), what the kernel does (bpf), or
// what a notification means (seccomp).
//
// A shim serves all containers of a pod. Its memory counts on every pod of a
// node, so it loads no programs and no kernel types: the createRuntime hook
// does, whose process ends.
package shim

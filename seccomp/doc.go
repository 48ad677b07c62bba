// Package seccomp sees attempts to access another process's memory at the system call, through
// seccomp user notifications, and answers them.
//
// It has three parts. [Merge] adds the rules that notify to a container's seccomp profile, and
// never makes it weaker. [Listener] receives the notify file descriptors that the runtime sends,
// one for the container and one for each exec. A notification becomes a [Call], in which every
// process is identified by its pid on the host, and a [Decider] answers it.
//
// It does not decide the answer (package policy), nor the target's relation to the actor, nor does
// it record events (both package container).
//
// # What an answer is worth
//
// A decision rests on registers and on what /proc says while the caller waits. A refusal is final.
// A call that is allowed continues into the kernel, which looks everything up again: by then a pid
// can belong to another process, and a pidfd's number to another file ([Call.Swappable] says when
// someone could arrange that). The lsm and access sensors decide again inside the kernel, on the
// task that the kernel really found. When the listener goes away, callers get ENOSYS.
//
// A process can have only one listener: a container engine inside the container that wants one of
// its own gets EBUSY.
package seccomp

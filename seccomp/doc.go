// Package seccomp sees attempts at another process's memory at the system call,
// through seccomp user notifications, and answers them.
//
// It owns three things. [Merge] adds the rules that notify to a container's
// seccomp profile, never making it weaker. [Listener] takes the notify file
// descriptors that the runtime sends, one for the container and one for each
// exec. A notification becomes a [Call], in which every process is named by its
// pid on the host, and a [Decider] answers it.
//
// It does not own what the answer is (package policy), nor what the target is
// to the actor, nor events: that is the shim's.
//
// # What an answer is worth
//
// A decision rests on registers and on what /proc says while the caller waits.
// A refusal is final. A call that was let through goes into the kernel, which
// looks everything up again: a pid can by then be another process's, and a
// pidfd's number another file's ([Call.Swappable] says when somebody could do
// that). The lsm and access sensors decide again inside the kernel, on the task
// that it really found. When the listener goes away, callers get ENOSYS.
//
// A process has room for one listener: a container engine inside the container
// that wants one of its own gets EBUSY.
package seccomp

// Package emulate implements the attacks that shimward defends against, so that anyone can try them
// on their own set-up: a victim keeps a secret in its memory, and each attempt tries to get at it
// in one particular way.
//
// Every attempt runs in a process of its own and reads into memory that it shares with the process
// that judges it. So even an attempt that is killed is judged by what reached it: the secret was
// read if its bytes arrived there, and the victim was changed if the victim itself says so. A
// system call that returned 0 proves nothing.
//
// The package uses nothing of shimward but the names in package access, and makes the same attempts
// with and without shimward.
package emulate

// Package emulate is the attacks that shimward is about, for anyone who wants
// to try a set-up of their own: a victim that keeps a secret in its memory, and
// attempts to get at it, each through one door.
//
// Every attempt runs in a process of its own and reads into memory that it
// shares with the process that judges it. So an attempt that is killed is still
// judged by what reached it: the secret was read if its bytes arrived there,
// and the victim was changed if the victim itself says so. Nothing is believed
// because a system call returned 0.
//
// The package knows nothing of shimward's other parts but the names in package
// access, and finds the same things with and without shimward.
package emulate

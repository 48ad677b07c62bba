// Package doctor says whether a node can keep what its config promises.
//
// Gather asks the machine; Diagnose judges what it found, asks nothing and so
// can be tested with any node's facts. Neither changes anything but to load
// small programs into the kernel for a moment, to see whether it takes them.
package doctor

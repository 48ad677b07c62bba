// Package doctor says whether a node can keep what its config promises.
//
// Gather asks the machine; Diagnose judges what it found, asks nothing and so
// can be tested with any node's facts. Neither changes anything but to load
// and attach programs for a moment, to see whether the kernel takes them.
package doctor

// Package doctor reports whether a node can keep what its config promises.
//
// Gather collects facts about the machine. Diagnose judges the facts without querying anything, so
// it can be tested with the facts of any node. Neither changes the node, except that Gather loads
// and attaches programs for a moment to see whether the kernel accepts them.
package doctor

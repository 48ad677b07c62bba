// Package install puts shimward on a node and takes it off again: binaries in a
// folder per version with links that are swapped, one runtime in containerd's
// config, and a record of both, so that nothing else is ever touched.
//
// What containerd makes of its config is asked of containerd itself (`containerd
// config dump`) before and after. If anything but the one runtime differs,
// everything is put back.
package install

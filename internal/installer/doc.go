// Package installer is what the installer of deploy/ does on a node of a cluster,
// from a privileged pod in the node's pid namespace: it runs the commands of
// shimward (install, verify, uninstall) in the node's own mount namespace, where
// containerd's paths mean what they say, and tells the apiserver what came out.
//
// It decides nothing about containerd's config or the node's binaries: that is
// package install's, with its record and its refusals.
package installer

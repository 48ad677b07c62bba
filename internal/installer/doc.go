// Package installer implements the installer of deploy/. It runs on a node of a cluster, in a
// privileged pod in the node's pid namespace. It runs shimward's commands (install, verify,
// uninstall) in the node's own mount namespace, where containerd's paths are valid, and reports the
// result to the apiserver.
//
// It makes no decisions about containerd's config or the node's binaries: package install does,
// with its record and its checks.
package installer

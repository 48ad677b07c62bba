// Package hooks owns shimward's two OCI hooks as the host of a container, its shim or its monitor, sees
// them: how they are written into a bundle's config.json (Edit), and what they, and `shimward runc`, tell
// the host once they run (Tell, Server). What a hook's own process does is package relay's.
//
// The host acts on what it is told (package container); this package knows no kernel.
package hooks

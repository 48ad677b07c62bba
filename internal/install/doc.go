// Package install installs shimward on a node and removes it again. It manages a folder of binaries
// per version with links that are switched to the newest, one runtime in containerd's config, and a
// record of both, so that nothing else is ever touched.
//
// How containerd reads its config is determined by asking containerd itself (`containerd config
// dump`) before and after a change. If anything but the one runtime differs, everything is put
// back.
package install

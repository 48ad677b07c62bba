// Package nodeconfig finds and reads a node's config.toml. What the config
// means is package policy's business, which does no I/O.
package nodeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// Env names the variable of the environment (containerd's, and so the shim's;
// or an operator's) that says where the node's config is.
const Env = "SHIMWARD_CONFIG"

// Load reads the config file that was named: by Env, or on a command line. It
// returns where the config came from too: a path, or "" for the built-in one.
// The name is empty on most nodes; their config is policy.ConfigFile or, where
// that is not there, policy.DefaultConfig. A file that was named and is missing
// is an error, and so is one that cannot be read or understood: nothing ever
// runs under another policy than the one that somebody wrote.
func Load(named string) (*policy.Config, string, error) {
	return load(named, policy.ConfigFile)
}

func load(named, otherwise string) (*policy.Config, string, error) {
	path := named
	if path == "" {
		path = otherwise
	}
	if !filepath.IsAbs(path) {
		return nil, path, fmt.Errorf("the config's path is %q: write an absolute one", path)
	}
	content, err := files.Read(path, policy.MaxConfigBytes, Trusted)
	if errors.Is(err, fs.ErrNotExist) && named == "" {
		_, link := os.Lstat(path)
		if errors.Is(link, fs.ErrNotExist) {
			return policy.DefaultConfig(), "", nil
		}
		err = fmt.Errorf("%s leads to no file: %w", path, err) // somebody wrote one
	}
	if err != nil {
		return nil, path, fmt.Errorf("read shimward's config: %w", err)
	}
	config, err := policy.ParseConfig(content)
	if err != nil {
		return nil, path, fmt.Errorf("shimward's config %s: %w", path, err)
	}
	return config, path, nil
}

// Trusted refuses a file that decides what containers may do, and that somebody
// else than root, or who runs this, can change.
func Trusted(path string, info fs.FileInfo) error {
	owner, group := -1, -1
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner, group = int(stat.Uid), int(stat.Gid)
	}
	switch {
	case owner != 0 && owner != os.Geteuid() && (owner != overflow || !confined()):
		return fmt.Errorf("%s belongs to user %d, who could change it at any time: chown root it", path, owner)
	case info.Mode().Perm()&0o020 != 0 && group != 0 && group != os.Getegid() && (group != overflow || !confined()):
		return fmt.Errorf("%s can be written by group %d: chmod g-w it", path, group)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s can be written by everybody: chmod o-w it", path)
	}
	return nil
}

// overflow is the user, and the group, that whoever has no number in a user namespace is
// shown as there (proc_sys_kernel(5)).
const overflow = 65534

// confined says that this runs in a user namespace, in which the node's root has no
// number: a rootless engine's.
func confined() bool {
	raw, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, count uint32
	if err == nil {
		_, err = fmt.Sscan(string(raw), &inside, &outside, &count)
	}
	return err == nil && (inside != 0 || outside != 0 || count != 1<<32-1)
}

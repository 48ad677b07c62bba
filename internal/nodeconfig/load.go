// Package nodeconfig finds and reads a node's config.toml. Interpreting the config is left to
// package policy, which does no I/O.
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

// Env is the environment variable that names the node's config, in the environment of containerd
// and so of the shim, or of an operator.
const Env = "SHIMWARD_CONFIG"

// Load reads the config file that was named by Env or on a command line. It also returns where the
// config came from: a path, or "" for the built-in config. On most nodes named is empty. Then the
// config is policy.ConfigFile or, if that does not exist, policy.DefaultConfig. It is an error if a
// named file is missing, and if any file cannot be read or parsed: nothing ever runs under a policy
// other than the one that somebody wrote.
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
		err = fmt.Errorf("%s is a link to a file that does not exist: %w", path, err) // a dangling link, which somebody has created
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

// Trusted refuses a file that users other than root and the current one can change. It is meant for
// files that decide what containers may do.
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

// overflow is the user ID and group ID that stand for an ID without a mapping in a user namespace
// (proc_sys_kernel(5)).
const overflow = 65534

// confined reports whether this process runs in a user namespace in which the node's root has no
// mapping, such as that of a rootless engine.
func confined() bool {
	raw, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, count uint32
	if err == nil {
		_, err = fmt.Sscan(string(raw), &inside, &outside, &count)
	}
	return err == nil && (inside != 0 || outside != 0 || count != 1<<32-1)
}

package shim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/policy"
)

// EnvConfig names the variable of containerd's environment, and so of the
// shim's, that says where the node's config is.
const EnvConfig = "SHIMWARD_CONFIG"

// LoadConfig reads the node's config. named is the value of EnvConfig; it is
// empty on most nodes, whose config is policy.ConfigFile or, where that is not
// there, the built-in one. A file that was named and is missing is an error,
// and so is one that cannot be read or understood: a container never runs under
// another policy than the one that somebody wrote.
func LoadConfig(named string) (*policy.Config, error) {
	path := named
	if path == "" {
		path = policy.ConfigFile
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%s is %q: write an absolute path, the shim's working directory is the container's bundle", EnvConfig, path)
	}
	raw, err := readFile(path, policy.MaxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) && named == "" {
		return policy.DefaultConfig(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read shimward's config: %w", err)
	}
	config, err := policy.ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("shimward's config %s: %w", path, err)
	}
	return config, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	// Opening a pipe would wait for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the caller's path is the point
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, nil
}

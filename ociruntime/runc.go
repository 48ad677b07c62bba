package ociruntime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/nodeconfig"
)

// usualPlaces are where distributions and runc's own `make install` put it, in the order of root's
// PATH.
var usualPlaces = []string{"/usr/bin/runc", "/usr/sbin/runc", "/usr/local/bin/runc", "/usr/local/sbin/runc"}

// envBelow is the environment variable with which shimward marks the runtime that it execs; its
// value is their pid. A shimward that finds its own pid there, or its parent's, has been put in the
// real runtime's place; one that finds another was started by one of that runtime's hooks.
const envBelow = "SHIMWARD_BELOW"

// findRunc returns the absolute path of the real runtime: the configured one, or the first that
// exists in a usual place. self is this process's own binary.
func findRunc(configured, self string, usual []string) (string, error) {
	if configured != "" {
		if err := checkRunc(configured, self); err != nil {
			return "", fmt.Errorf("the runtime that runc.path in shimward's config names: %w", err)
		}
		return configured, nil
	}
	for _, path := range usual {
		err := checkRunc(path, self)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errSelf) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look for runc: %w", err)
		}
		return path, nil
	}
	return "", fmt.Errorf("runc was not found as any of %v: install it, or write its path as runc.path in shimward's config", usual)
}

// CheckRunc returns an error if what runc.path names cannot be the runtime below `shimward runc`.
func CheckRunc(path string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find shimward's own binary: %w", err)
	}
	if err := checkRunc(path, self); err != nil {
		return err
	}
	return trustRunc(path)
}

// trustRunc returns an error for a runtime that another user can change, with which nothing may be
// started. Existing containers can still be stopped and deleted with it.
func trustRunc(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return nodeconfig.Trusted(path, info)
}

var errSelf = errors.New("is shimward itself: write the real runc's path")

func checkRunc(path, self string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not an absolute path: write one, such as %q", path, "/usr/sbin/"+filepath.Base(path))
	}
	info, err := os.Stat(path) // follows symbolic links: those of alternatives(8) are common
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%s is a loop of links: write the real runc's path", path)
	}
	if err != nil {
		return err
	}
	own, err := os.Stat(self)
	if err != nil {
		return err
	}
	switch {
	case os.SameFile(info, own):
		return fmt.Errorf("%s %w", path, errSelf)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not an executable file", path)
	}
	return nil
}

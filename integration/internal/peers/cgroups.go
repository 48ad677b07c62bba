package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are a room's cgroup, in each hierarchy that the machine has. Whatever
// the suite starts and forgets is in it.
type cgroups []string

// hierarchy is a mounted one.
type hierarchy struct{ at, kind, options string }

func hierarchies() ([]hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	var found []hierarchy
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		dash := slices.Index(fields, "-")
		if dash < 0 || dash+3 >= len(fields) || !strings.HasPrefix(fields[dash+1], "cgroup") {
			continue
		}
		options := strings.TrimPrefix(strings.TrimPrefix(fields[dash+3], "rw"), ",")
		if strings.HasPrefix(options, "name=") {
			options = "none," + options
		}
		if fields[dash+1] == "cgroup2" {
			options = "" // of the whole machine's, not of a mount
		}
		found = append(found, hierarchy{fields[4], fields[dash+1], options})
	}
	return found, nil
}

func makeCgroups(name string) (cgroups, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	var made cgroups
	for _, h := range all {
		dir := filepath.Join(h.at, name)
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as every cgroup is
			return made, fmt.Errorf("make the room's cgroup: %w", err)
		}
		made = append(made, dir)
		// A cpuset of version 1 begins empty, and takes no task then.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			text, err := os.ReadFile(filepath.Join(h.at, file)) //nolint:gosec // of the hierarchy
			if h.kind != "cgroup" || err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0); err != nil { //nolint:gosec // the room's own
				return made, fmt.Errorf("set up the room's cpuset: %w", err)
			}
		}
	}
	return made, nil
}

func (c cgroups) dirs() []string { return slices.Clone(c) }

// remountCgroups has every hierarchy begin at the room's cgroup, as the cgroup
// namespace has it: the suites make theirs at the root.
func remountCgroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range slices.Backward(all) {
		if err := unix.Unmount(h.at, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the machine's cgroups: %w", err)
		}
	}
	for _, h := range all {
		if err := unix.Mount("cgroup", h.at, h.kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, h.options); err != nil {
			return fmt.Errorf("mount the room's cgroups (%s) at %s: %w", h.options, h.at, err)
		}
	}
	return nil
}

// remove ends every process in the room's cgroup and removes it.
func (c cgroups) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		left := c.try()
		if left == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the room's cgroup is still there: %w", left)
		case <-time.After(100 * time.Millisecond): // the kernel says nothing when a cgroup of version 1 is empty
		}
	}
}

func (c cgroups) try() error {
	var errs []error
	for _, top := range c {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			thaw(dir)
			pids, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) //nolint:gosec // gone is empty, too
			for _, text := range strings.Fields(string(pids)) {
				if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("%s: %w", dir, err))
			}
		}
	}
	return errors.Join(errs...)
}

// thaw lets a frozen cgroup's processes die.
func thaw(dir string) {
	_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
	_ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0)
}

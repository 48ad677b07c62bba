package install

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// users describes the processes that run a binary below a folder. A process that ends meanwhile is
// ignored.
func users(folder string) ([]string, error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var found []string
	for _, process := range processes {
		pid, err := strconv.Atoi(process.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", process.Name(), "exe"))
		if err != nil || !strings.HasPrefix(exe, folder+"/") {
			continue
		}
		found = append(found, describe(process.Name(), filepath.Base(exe)))
	}
	return found, nil
}

// describe names a shim's container, by the flags that containerd starts the shim with.
func describe(pid, name string) string {
	line, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline")) //nolint:gosec // procfs
	args := strings.Split(string(line), "\x00")
	flag := func(name string) string {
		if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	if id := flag("-id"); id != "" {
		return fmt.Sprintf("%s/%s (%s, pid %s)", flag("-namespace"), id, name, pid)
	}
	return fmt.Sprintf("%s (pid %s)", name, pid)
}

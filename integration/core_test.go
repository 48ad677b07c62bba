package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shimward/shimward/integration/internal/node"
)

const corePattern = "/proc/sys/kernel/core_pattern"

// coreHandler handles a core dump like systemd-coredump: it inspects the process in procfs and
// reads the dump.
const coreHandler = `#!/bin/sh
cd %q || exit
for name in status maps limits cgroup cmdline environ auxv mountinfo; do cat "/proc/$1/$name" >>looked 2>&1; done
ls -l "/proc/$1/fd" "/proc/$1/exe" "/proc/$1/root" "/proc/$1/cwd" >>looked 2>&1
cat >core && touch done
`

// TestCore checks that the core of a crashing guarded program goes where the node's pattern says,
// and that no event above info is raised.
func TestCore(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	// The core pattern applies to the whole machine, so it is changed only in a VM.
	owned := node.Emulated()
	for name, test := range map[string]struct {
		owned   bool
		handled bool
		pattern func(dir string) string
		inside  int // number of cores in the container
	}{
		"as the node has it": {},
		"to a file":          {owned: true, pattern: func(string) string { return "/tmp/core.%e" }, inside: 1},
		"to a handler":       {owned: true, handled: true, pattern: func(dir string) string { return "|" + dir + "/handler %P" }},
	} {
		if test.owned && !owned {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, runtime := range []string{node.Runc, node.Shimward} {
				dir := coresGo(t, test.pattern)
				id := strings.ReplaceAll(name, " ", "-") + "-" + runtime
				result := mustRun(t, n, node.Spec{
					ID: id, Runtime: runtime, DefaultSeccomp: true,
					Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "baseline"},
					Args: []string{"/bin/sh", "-c", `ulimit -c unlimited; cd /tmp; sh -c 'kill -SEGV $$' 2>/dev/null; echo $?
n=0; for f in core.*; do [ "$(head -c 4 "$f" 2>/dev/null | tail -c 3)" = ELF ] && n=$((n+1)); done; echo $n`},
				})
				want := fmt.Sprintf("139\n%d\n", test.inside)
				if test.owned && result.Stdout != want {
					t.Errorf("%s: want %q of: %s", runtime, want, result)
				}
				t.Logf("%s: %s", runtime, result)
				if test.handled {
					wantHandled(t, dir)
				}
				if runtime == node.Shimward {
					wantSilent(t, n, id, nil)
				}
			}
		})
	}
}

// coresGo sets the node's core pattern until the end of the test, and returns the handler's
// directory.
func coresGo(t *testing.T, pattern func(dir string) string) string {
	t.Helper()
	if pattern == nil {
		return ""
	}
	dir, err := os.MkdirTemp("", "core-") //nolint:usetesting // a core pattern is limited to 127 bytes, and t.TempDir needs many of them
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(corePattern)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(corePattern, before, 0); err != nil {
			t.Error(err)
		}
		removeAll(t, dir)
	})
	if err := os.WriteFile(filepath.Join(dir, "handler"), fmt.Appendf(nil, coreHandler, dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(corePattern, []byte(pattern(dir)), 0); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantHandled waits until a core's handler has ended, which the kernel does not wait for.
func wantHandled(t *testing.T, dir string) {
	t.Helper()
	for ctx := testContext(t); ; {
		if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("the core's handler did not end")
		case <-time.After(50 * time.Millisecond):
		}
	}
	core, err := os.ReadFile(filepath.Join(dir, "core"))
	if err != nil || !strings.HasPrefix(string(core), "\x7fELF") {
		t.Errorf("the handler got no core: %d bytes, %v", len(core), err)
	}
	looked, err := os.ReadFile(filepath.Join(dir, "looked"))
	if err != nil || !strings.Contains(string(looked), "[heap]") {
		t.Errorf("the handler could not look the process up: %s, %v", looked, err)
	}
}

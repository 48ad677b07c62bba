package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// honestRoot returns a container's own copy of a root file system that scripts/fetch-honest
// creates.
func honestRoot(t *testing.T, later bool) string {
	t.Helper()
	lower := folder(t, "SHIMWARD_HONEST", "a root file system of honest programs (scripts/fetch-honest)", "", "bin/bash")
	if later {
		lower += "-later"
	}
	dir := t.TempDir()
	at := filepath.Join(dir, "root")
	for _, name := range []string{at, filepath.Join(dir, "upper"), filepath.Join(dir, "work")} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir)
	if err := unix.Mount("overlay", at, "overlay", 0, layers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Errorf("unmount the root file system: %v", err)
		}
	})
	return at
}

// honest is a program that shimward must not interfere with.
type honest struct {
	name   string
	script string // for bash
	same   bool   // its output is the same each time
	code   int    // expected exit code
	needs  []string
	warns  []access.Vector // what baseline still records above info
	looks  bool            // reads /proc or traces: worth running on emulated CPUs
	later  bool            // needs the later Debian release
}

// run runs the program in its own container, with what Debian's programs expect of one.
func (h honest) run(t *testing.T, n *node.Node, spec node.Spec) node.Result {
	t.Helper()
	spec.Args = []string{"/bin/bash", "-c", h.script}
	spec.Capabilities = append(spec.Capabilities, h.needs...)
	spec.Options = append([]oci.SpecOpts{
		oci.WithRootFSPath(honestRoot(t, h.later)), oci.WithEnv([]string{"HOME=/root", "TERM=xterm", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}),
		oci.WithMounts([]specs.Mount{{Destination: "/run", Type: "tmpfs", Source: "tmpfs"}, {Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}}),
	}, spec.Options...)
	return mustRun(t, n, spec)
}

// corpus returns the programs to run under stock runc and then guarded by the profile baseline.
func corpus() []honest {
	return []honest{
		{name: "ps", script: `ps auxww >/dev/null && ps -ef >/dev/null && ps eww -A >/dev/null && ps -eLo pid,tid,wchan,comm >/tmp/list && wc -l </tmp/list`, same: true},
		{name: "top", script: `top -b -n 2 -d 0.1 >/dev/null`},
		{name: "htop", script: `timeout 2 htop >/dev/null`, same: true},
		{name: "pgrep", script: `sleep 60 & until pgrep -x sleep >/dev/null; do :; done; pgrep -c sleep; pidof sleep >/dev/null; pkill sleep; wait; echo $?`, same: true},
		{name: "lsof", looks: true, script: `exec 3</etc/passwd; lsof -n -p $$ | grep -c passwd; lsof -n >/dev/null`, same: true},
		{name: "fuser", looks: true, script: `cd /tmp; exec 3>held; fuser -s held && fuser -s -m / && echo held`, same: true},
		{name: "ss", looks: true, script: `ss -tunlp >/dev/null && ss -xp >/dev/null`, same: true},
		{name: "find /proc", looks: true, script: `find /proc -maxdepth 4 >/dev/null 2>&1; ls -lR /proc/1 >/dev/null 2>&1; cat /proc/self/maps >/dev/null`},
		{name: "bash", script: `for i in {1..50}; do echo $i | cat; done | sort -n | tail -1`, same: true},
		{name: "python", script: `python3 -c '
import os, threading
ts = [threading.Thread(target=lambda: sum(range(200000))) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
pids = [os.fork() or os._exit(0) for _ in range(20)]
print([os.waitpid(p, 0)[1] for p in pids].count(0))'`, same: true},
		{name: "node", script: `node -e '
const {Worker} = require("worker_threads"), {execFileSync} = require("child_process");
let n = 0;
for (let i = 0; i < 4; i++) new Worker("let s = 0; for (let i = 0; i < 1e6; i++) s += i", {eval: true}).on("exit", () => {
  if (++n == 4) console.log(execFileSync("/bin/echo", ["done"]).toString().trim());
})'`, same: true},
		{name: "java", script: `cat >/tmp/Load.java <<'END'
import java.util.stream.*;
public class Load { public static void main(String[] a) throws Exception {
  System.out.println(IntStream.range(0, 200000).parallel().mapToObj(i -> "x" + i).collect(Collectors.toSet()).size());
} }
END
java -Xmx256m /tmp/Load.java`, same: true},
		{name: "go", script: `load`, same: true, code: 3},
		{name: "shimward", script: `shimward version >/dev/null && shimward explain --tier lsm proc_mem host | head -1`, same: true},
		{name: "jemalloc", script: `LD_PRELOAD=$(ls /usr/lib/*/libjemalloc.so.2) python3 -c 'print(len([str(i) for i in range(300000)]))'`, same: true},
		{name: "a crash", script: `ulimit -c unlimited; cd /tmp; bash -c 'kill -SEGV $$'; echo $?`, same: true},
		{name: "nginx", looks: true, script: `nginx -t || exit; nginx -g 'daemon off;' & for i in {1..400}; do exec 3<>/dev/tcp/127.0.0.1/80 && break; sleep 0.05; done 2>/dev/null
printf 'GET / HTTP/1.0\r\n\r\n' >&3; head -1 <&3; nginx -s quit; wait`, same: true},
		{name: "redis", looks: true, script: `redis-server --port 6400 --dir /tmp >/dev/null & for i in {1..400}; do redis-cli -p 6400 ping >/dev/null 2>&1 && break; sleep 0.05; done
redis-cli -p 6400 set a b; redis-cli -p 6400 debug object a >/dev/null; redis-cli -p 6400 bgsave >/dev/null; redis-cli -p 6400 info memory >/dev/null; redis-cli -p 6400 get a; redis-cli -p 6400 shutdown nosave; wait`, same: true},
		{name: "postgresql", script: `bin=$(ls -d /usr/lib/postgresql/*/bin); install -d -o postgres /tmp/db /run/postgresql
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
as $bin/initdb -D /tmp/db >/dev/null && as $bin/pg_ctl -w -D /tmp/db -l /tmp/db/log start >/dev/null
as psql -Atc 'select sum(i) from generate_series(1, 100000) i' postgres; as $bin/pg_ctl -m fast -D /tmp/db stop >/dev/null`, same: true},
		{name: "dpkg and apt", script: `dpkg --verify bash coreutils; dpkg -l >/dev/null && apt-get check >/dev/null && dpkg --configure -a && echo sound`, same: true},
		{name: "a C build", script: `cd /tmp; printf 'int main(void) { return 7; }\n' >a.c; printf 'a: a.c\n\tgcc -O2 -flto -o $@ $<\n' >Makefile; make -s -j2; ./a; echo $?`, same: true},
		{name: "stress-ng", script: `cd /tmp; stress-ng --quiet --temp-path /tmp --timeout 2 --cpu 1 --vm 1 --vm-bytes 32M --fork 1 --mmap 1 --mmap-bytes 8M --pipe 1 --futex 1 --switch 1 --brk 1 --malloc 1`},
		{name: "valgrind", script: `valgrind -q /bin/true; echo $?`, same: true},
		{name: "jstack and jmap", script: `cat >/tmp/Wait.java <<'END'
public class Wait { public static void main(String[] a) throws Exception { Thread.sleep(100000); } }
END
javac -d /tmp /tmp/Wait.java; java -Xmx64m -cp /tmp Wait & for i in {1..400}; do jps | grep -q Wait && break; sleep 0.1; done
jstack $! | grep -c 'Wait.main'; jmap -histo $! | grep -c ' java.lang.Thread '; kill $!; wait`, same: true},
		// A program that is started under a debugger asked to be traced.
		{name: "gdb launch", looks: true, script: `gdb -q -batch -nx -ex run --args /bin/echo run 2>&1 | grep -c '^run$'`, same: true, warns: []access.Vector{access.VectorSelfMem}}, // gdb probes its own mem file
		{name: "strace launch", looks: true, script: `strace -f -o /dev/null /bin/sh -c 'echo run | cat'`, same: true},
		{name: "ltrace launch", script: `ltrace -o /dev/null /bin/true; echo $?`, same: true},
	}
}

// TestSilence checks that honest programs behave as under runc and raise no events above info.
func TestSilence(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	load := bindLoad(t)
	for _, h := range corpus() {
		// Java and Node crash on emulated CPUs, also under stock runc.
		if !h.looks && node.Emulated() {
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			tool := append(bindShimward(t), load)
			stock := h.run(t, n, node.Spec{Runtime: node.Runc, DefaultSeccomp: true, Options: tool})
			id := "honest-" + strings.NewReplacer(" ", "-", ",", "", "/", "").Replace(h.name)
			guarded := h.run(t, n, node.Spec{
				ID: id, Runtime: node.Shimward, DefaultSeccomp: true, Options: tool,
				Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "baseline"},
			})
			if guarded.Code != stock.Code || h.same && guarded.Stdout != stock.Stdout {
				t.Errorf("it does not behave as under runc.\nunder runc: %s\nguarded: %s", stock, guarded)
			}
			if stock.Code != h.code {
				t.Errorf("it does not work under runc: %s", stock)
			}
			t.Logf("%s", stock)
			wantSilent(t, n, id, h.warns)
		})
	}
}

// wantSilent checks that a container has no event above info, except for the given vectors.
func wantSilent(t *testing.T, n *node.Node, id string, warns []access.Vector) {
	t.Helper()
	all, err := n.Events(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		known := e.Access != nil && slices.Contains(warns, e.Access.Vector)
		if e.Severity != event.SeverityInfo && !known {
			t.Errorf("an event above info:\n%s", describe([]event.Event{e}))
		} else if e.Access != nil {
			t.Logf("%s: %s", e.Severity, e.Message)
		}
	}
}

func bindShimward(t *testing.T) []oci.SpecOpts {
	t.Helper()
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	return []oci.SpecOpts{oci.WithMounts([]specs.Mount{{
		Source: filepath.Join(bin, "shimward"), Destination: "/usr/local/bin/shimward", Type: "bind", Options: []string{"bind", "ro"},
	}})}
}

// bindLoad mounts the built testdata/load.go into a container. It exercises all of the Go runtime.
func bindLoad(t *testing.T) oci.SpecOpts {
	t.Helper()
	if node.Emulated() {
		return oci.Compose() // not run on emulated CPUs
	}
	binary := filepath.Join(t.TempDir(), "load")
	build := exec.CommandContext(t.Context(), testenv.Program(t, "go"), "build", "-o", binary, "testdata/load.go")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build testdata/load.go: %v: %s", err, out)
	}
	return oci.WithMounts([]specs.Mount{{Source: binary, Destination: "/usr/local/bin/load", Type: "bind", Options: []string{"bind", "ro"}}})
}

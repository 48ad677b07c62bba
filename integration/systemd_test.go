package integration

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// booting returns a script that becomes systemd, which starts its basic target, runs the script of
// one unit, and shuts down. Systemd keeps no output of its own, so the container's output is what
// the unit writes to /run/said.
func booting(unit string) string {
	return `mkdir -p /run/systemd/system; cd /run/systemd/system; mkfifo /run/said; cat /run/said &
cat >said.service <<'END'
[Unit]
After=basic.target systemd-journald.service
Requires=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /run/unit
ExecStopPost=/bin/kill -s RTMIN+3 1
END
cat >/run/unit <<'END'
` + unit + `
END
cd /; export container=other; exec /lib/systemd/systemd --unit=said.service`
}

// forSystemd gives a container a cgroup namespace, its part of the cgroup v2 hierarchy where
// systemd expects it, and a file system that Debian's systemd would mount if it could. The v2
// hierarchy also exists on nodes that still have cgroup v1.
func forSystemd() []oci.SpecOpts {
	return []oci.SpecOpts{
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithMounts([]specs.Mount{
			{Destination: "/sys/fs/cgroup", Type: "cgroup2", Source: "cgroup2", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/run/lock", Type: "tmpfs", Source: "tmpfs"},
		}),
	}
}

// TestSystemdSilence checks that systemd as a container's init raises no events above info. It
// moves every service to its own cgroup and inspects each of its processes.
func TestSystemdSilence(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	h := honest{script: booting(`exec >/run/said
systemctl is-active basic.target systemd-journald.service
systemctl status systemd-journald.service | grep -o 'Active: active'
cat /proc/self/cgroup | grep -o '/system.slice/said.service$'`)}
	stock := h.run(t, n, node.Spec{Runtime: node.Runc, DefaultSeccomp: true, Options: forSystemd()})
	if want := "active\nactive\nActive: active\n/system.slice/said.service\n"; stock.Stdout != want {
		t.Fatalf("it does not work under runc: %s", stock)
	}
	guarded := h.run(t, n, node.Spec{
		ID: "systemd", Runtime: node.Shimward, DefaultSeccomp: true, Options: forSystemd(),
		Annotations: map[string]string{annotationMode: "enforce", annotationProfile: "baseline"},
	})
	if guarded.Code != stock.Code || guarded.Stdout != stock.Stdout {
		t.Errorf("it does not behave as under runc.\nunder runc: %s\nguarded: %s", stock, guarded)
	}
	wantSilent(t, n, "systemd", nil)
	wantNoLeaks(t, n)
}

// TestSystemdGuarded checks that a process which systemd has moved to a service's cgroup is
// guarded.
func TestSystemdGuarded(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	options := forSystemd()
	h := honest{script: booting(`exec >/run/said
sleep 1000 & pid=$!
start=$((16#$(head -1 /proc/$pid/maps | cut -d- -f1)))
reached() { dd if=/proc/$pid/mem bs=1 count=1 skip=$start status=none 2>/dev/null | wc -c; }
reached
kill -9 $pid`)}
	if stock := h.run(t, n, node.Spec{Runtime: node.Runc, Options: options}); stock.Stdout != "1\n" {
		t.Fatalf("it does not work under runc: %s", stock)
	}
	guarded := h.run(t, n, node.Spec{ID: "services", Runtime: node.Shimward, Annotations: enforceStrict(), Options: options})
	if guarded.Stdout != "0\n" {
		t.Errorf("memory was read: %s", guarded)
	}
	stopped := accesses(t, n, "services")
	if !slices.ContainsFunc(stopped, func(e event.Event) bool {
		return e.Access.Vector == access.VectorProcMem && e.Access.Verdict != access.VerdictObserved
	}) {
		t.Errorf("no event says that it was stopped:\n%s", describe(stopped))
	}
}

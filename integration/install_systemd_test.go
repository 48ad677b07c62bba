package integration

import (
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/integration/internal/node"
)

// onSystemd installs shimward twice and uninstalls it, with --restart, where systemd runs
// containerd. After each step it prints whether containerd runs, whether it is still the same
// process, and whether its config has the runtime. Finally it tries to install with a containerd
// that cannot be started.
const onSystemd = `exec >/run/said 2>/dev/null
export PATH=/run/engines:$PATH
cat >/run/containerd.toml <<'END_OF_CONFIG'
version = 3
root = '/run/containerd/root'
END_OF_CONFIG
cat >/run/systemd/system/containerd.service <<'END_OF_UNIT'
[Service]
Type=notify
ExecStart=/run/engines/containerd --config /run/containerd.toml
END_OF_UNIT
systemctl daemon-reload
last=
tell() {
	now=$(systemctl show -P MainPID containerd) process=another
	[ "$now" != "$last" ] || process='the same'
	last=$now
	echo "$1: $(systemctl is-active containerd), $process, $(containerd --config /run/containerd.toml config dump | grep -c 'runtimes.shimward\]') runtime"
}
shimward() {
	/run/bin/shimward "$1" --restart --containerd-config /run/containerd.toml 2>&1 >/dev/null
	[ $? = 0 ] || echo "$1 failed"
}
systemctl start containerd
tell before
shimward install
tell installed
shimward install
tell again
shimward uninstall
tell uninstalled
sed -i s,/run/engines/containerd,/bin/false, /run/systemd/system/containerd.service
systemctl daemon-reload
shimward install`

const toldOnSystemd = `before: active, another, 0 runtime
installed: active, another, 1 runtime
again: active, the same, 1 runtime
uninstalled: active, another, 0 runtime
shimward: systemctl restart containerd: exit status 1: Job for containerd.service failed because the control process exited with error code.
See "systemctl status containerd.service" and "journalctl -xeu containerd.service" for details.

install failed
`

func TestInstallRestartsContainerd(t *testing.T) {
	n := startNode(t, node.Options{})
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	read := []string{"rbind", "ro"}
	options := append(forSystemd(), oci.WithMounts([]specs.Mount{
		{Destination: "/run/engines", Type: "bind", Source: engines(t), Options: read},
		{Destination: "/run/bin", Type: "bind", Source: bin, Options: read},
		{Destination: "/usr/local", Type: "tmpfs", Source: "tmpfs"},
	}))
	h := honest{script: booting(onSystemd)}
	result := h.run(t, n, node.Spec{Runtime: node.Runc, Privileged: true, Options: options})
	if result.Stdout != toldOnSystemd {
		t.Errorf("got %s\nwant stdout:\n%s", result, toldOnSystemd)
	}
}

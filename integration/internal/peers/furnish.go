package peers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// bridge is the pods' network, as containerd's scripts set it up: NAME, TYPE.
const bridge = `{
  "cniVersion": "1.0.0",
  "name": %q,
  "plugins": [
    {
      "type": %q, "bridge": %q, "isGateway": true, "ipMasq": true, "promiscMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "2001:4860:4860::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
      },
      "capabilities": {"io.kubernetes.cri.pod-annotations": true}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// containerdConfig is what containerd's own script runs its CRI suite with,
// shimward's runtime as it is installed, and restrict_oom_score_adj, for machines
// without CAP_SYS_RESOURCE.
const containerdConfig = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  drain_exec_sync_io_timeout = "10s"
  restrict_oom_score_adj = true
[plugins."io.containerd.snapshotter.v1.overlayfs"]
  slow_chown = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = %q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.shimward]
  runtime_type = "io.containerd.shimward.v1"
  pod_annotations = ["shimward.dev/*"]
[plugins."io.containerd.nri.v1.nri"]
  disable = false
  socket_path = "/var/run/nri-test.sock"
  plugin_path = "/no/pre-launched/nri/plugins"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc-fp]
  cni_conf_dir = "/etc/cni/failing.d"
  cni_max_conf_num = 1
  pod_annotations = ["io.containerd.runtime.v2.shim.failpoint.*"]
  runtime_type = "runc-fp.v1"
`

// writeFiles puts into the room what the suites expect of a machine.
func (r *room) writeFiles() error {
	names := "127.0.0.1 localhost " + strings.Join(hosts(), " ") + "\n::1 localhost\n"
	for path, text := range map[string]string{
		"/etc/hosts":                                    names,
		"/etc/resolv.conf":                              "nameserver 127.0.0.1\n",
		"/etc/cni/net.d/10-peers.conflist":              fmt.Sprintf(bridge, "containerd-net", "bridge", "cni0"),
		"/etc/cni/failing.d/10-containerd-net.conflist": fmt.Sprintf(bridge, "containerd-net-failpoint", "cni-bridge-fp", "cni-fp"),
		r.containerdConfig():                            fmt.Sprintf(containerdConfig, r.runtime),
		"/etc/crictl.yaml":                              "runtime-endpoint: unix://" + socket + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as such folders are
			return err
		}
		// A link of the machine's would lead out of where the room's own files are.
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // as such files are
			return err
		}
	}
	// The machine's own would come before the pods' network.
	entries, err := os.ReadDir("/etc/cni/net.d")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "10-peers.conflist" {
			if err := os.RemoveAll(filepath.Join("/etc/cni/net.d", entry.Name())); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{"/etc/containerd", "/etc/shimward", "/opt/cni"} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/opt/cni/bin", 0o755); err != nil { //nolint:gosec // as such folders are
		return err
	}
	copies := [][2]string{
		// Under a name that nothing else on the machine has: the CRI suite ends it by its name.
		{filepath.Join(r.tools.Engines, "containerd"), filepath.Join(r.bin(), r.containerd())},
		{filepath.Join(r.tools.Suites, "cni-bridge-fp"), "/opt/cni/bin/cni-bridge-fp"},
	}
	// The CRI suite wants them all in one folder.
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		copies = append(copies, [2]string{filepath.Join(r.tools.Engines, name), filepath.Join(r.bin(), name)})
	}
	for _, name := range []string{"containerd-shim-runc-fp-v1", "loopback-v2", "runc-fp"} {
		copies = append(copies, [2]string{filepath.Join(r.tools.Suites, name), filepath.Join(r.bin(), name)})
	}
	for _, c := range copies {
		if err := r.copy(c[0], c[1]); err != nil {
			return err
		}
	}
	plugins, err := os.ReadDir(filepath.Join(r.tools.Suites, "cni"))
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		if err := r.copy(filepath.Join(r.tools.Suites, "cni", plugin.Name()), filepath.Join("/opt/cni/bin", plugin.Name())); err != nil {
			return err
		}
	}
	if err := r.writeOCIRuntime(); err != nil {
		return err
	}
	return os.CopyFS(r.work(), os.DirFS(filepath.Join(r.tools.Suites, "suite")))
}

func (r *room) copy(from, to string) error {
	content, err := os.ReadFile(from) //nolint:gosec // a tool that scripts/build-peers built
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // as such folders are
		return err
	}
	return os.WriteFile(to, content, fs.FileMode(0o755)) //nolint:gosec // it is to be run
}

// containerd is the name of the room's containerd: at most 15 bytes, as the kernel keeps a command's.
func (r *room) containerd() string {
	base := filepath.Base(r.dir)
	return "ctrd-" + base[max(0, len(base)-10):]
}

func (r *room) containerdConfig() string { return filepath.Join(r.dir, "containerd.toml") }

// bin is of the room's programs.
func (r *room) bin() string { return filepath.Join(r.dir, "bin") }

// work is the working folder of the suite.
func (r *room) work() string { return filepath.Join(r.dir, "work-of-suite") }

// reports is where the suite leaves what it came to.
func (r *room) reports() string { return filepath.Join(r.dir, "reports") }

// imageList is where the images are, for who pulls by digest.
func (r *room) imageList() string { return filepath.Join(r.dir, "images.toml") }

func (r *room) writeImageList() error {
	text := fmt.Sprintf("BusyBoxByDigest = %q\n", strings.TrimSuffix(busybox, ":1.36")+"@"+r.digest)
	return os.WriteFile(r.imageList(), []byte(text), 0o644) //nolint:gosec // nothing to hide
}

package node

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ConfigPath returns the path of this node's shimward config.toml.
func (n *Node) ConfigPath() string { return filepath.Join(n.Dir, "shimward.toml") }

// ContainerdConfigPath returns the path of containerd's config.
func (n *Node) ContainerdConfigPath() string { return filepath.Join(n.Dir, "containerd.toml") }

// SetConfig replaces shimward's config, in the same way as Options.Config. It takes effect for
// containers created from now on.
func (n *Node) SetConfig(text string) error {
	full := fmt.Sprintf("version = 1\n%s\n[paths]\nrun = %q\nbpf = %q\nlog = %q\n",
		text, n.Paths.Run, n.Paths.BPF, n.Paths.Log)
	// A table ends the top level of a TOML file, so the caller's tables come after [paths].
	if head, tables, found := cutTables(text); found {
		full = fmt.Sprintf("version = 1\n%s\n[paths]\nrun = %q\nbpf = %q\nlog = %q\n%s\n",
			head, n.Paths.Run, n.Paths.BPF, n.Paths.Log, tables)
	}
	return n.SetRawConfig([]byte(full))
}

// SetRawConfig replaces shimward's config by text verbatim, valid or not.
func (n *Node) SetRawConfig(text []byte) error {
	if err := os.WriteFile(n.ConfigPath(), text, 0o600); err != nil {
		return fmt.Errorf("write shimward's config: %w", err)
	}
	return nil
}

func cutTables(text string) (head, tables string, found bool) {
	if strings.HasPrefix(text, "[") {
		return "", text, true
	}
	at := strings.Index(text, "\n[")
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at:], true
}

func (n *Node) writeConfigs() error {
	write := func() error { return n.SetConfig(n.options.Config) }
	if n.options.RawConfig != nil {
		write = func() error { return n.SetRawConfig(n.options.RawConfig) }
	}
	if err := write(); err != nil {
		return err
	}
	return n.writeContainerdConfig()
}

func (n *Node) writeContainerdConfig() error {
	if err := os.WriteFile(n.ContainerdConfigPath(), []byte(n.containerdConfig()), 0o600); err != nil {
		return fmt.Errorf("write containerd's config: %w", err)
	}
	return nil
}

// containerdConfig disables the plugins that reach outside the node's directory: NRI's socket,
// /opt/containerd and, unless wanted, everything for Kubernetes.
func (n *Node) containerdConfig() string {
	disabled := []string{
		"io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
		"io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs",
		"io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.zfs",
	}
	if !n.options.CRI {
		disabled = append(disabled, "io.containerd.grpc.v1.cri",
			"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime")
	}
	var config strings.Builder
	version := cmp.Or(n.options.ConfigVersion, 4)
	var imports []string
	if n.options.Installer != "" {
		imports = []string{filepath.Join(n.Dir, "conf.d", "*.toml")}
	}
	fmt.Fprintf(&config, "version = %d\nroot = %q\nstate = %q\nimports = [%s]\n",
		version, filepath.Join(n.Dir, "root"), filepath.Join(n.Dir, "state"), quoted(imports))
	fmt.Fprintf(&config, "disabled_plugins = [%s]\n", quoted(disabled))
	if version < 4 {
		// The shims' sockets are in /run/containerd/s, regardless of the state directory.
		fmt.Fprintf(&config, "[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n", n.Socket(), n.Socket()+".ttrpc")
	} else {
		fmt.Fprintf(&config, "[plugins.'io.containerd.server.v1.grpc']\naddress = %q\n", n.Socket())
		fmt.Fprintf(&config, "[plugins.'io.containerd.server.v1.ttrpc']\naddress = %q\n", n.Socket()+".ttrpc")
		fmt.Fprintf(&config, "[plugins.'io.containerd.shim.v1.manager']\nsocket_dir = %q\n", filepath.Join(n.Dir, "s"))
	}
	if n.options.CRI {
		config.WriteString(criConfig(version, n.options.Installer == ""))
	}
	if cni := n.options.CNI; cni != nil {
		if version < 3 {
			fmt.Fprintf(&config, "[plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = %q\nconf_dir = %q\n", cni.Bin, cni.Conf)
		} else {
			fmt.Fprintf(&config, "[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [%q]\nconf_dir = %q\n", cni.Bin, cni.Conf)
		}
	}
	if Emulated() {
		// The default timeouts are three to five seconds, which may be too short on emulated CPUs.
		config.WriteString("[timeouts]\n")
		for _, what := range []string{"shim.load", "shim.cleanup", "shim.shutdown", "task.state"} {
			fmt.Fprintf(&config, "\"io.containerd.timeout.%s\" = \"2m\"\n", what)
		}
	}
	return config.String()
}

// criConfig returns the config of containerd's CRI plugins, which were a single plugin up to 1.7.
func criConfig(version int, withShimward bool) string {
	plugin := "io.containerd.cri.v1.runtime"
	head := fmt.Sprintf("[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = %q\n[plugins.%q]\n", pauseName, plugin)
	if version < 3 {
		plugin = "io.containerd.grpc.v1.cri"
		head = fmt.Sprintf("[plugins.%q]\nsandbox_image = %q\n", plugin, pauseName)
	}
	runtimes := criRuntimes
	if withShimward {
		runtimes += criShimward
	}
	return head + strings.ReplaceAll(runtimes, "PLUGIN", plugin)
}

// restrict_oom_score_adj: without it and without CAP_SYS_RESOURCE, every sandbox fails.
// netns_mounts_under_state_dir: keeps the pods' network namespaces private to the node, too.
const criRuntimes = `restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins.'PLUGIN'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
`

const criShimward = `[plugins.'PLUGIN'.containerd.runtimes.shimward]
runtime_type = 'io.containerd.shimward.v1'
pod_annotations = ['shimward.dev/*']
`

func quoted(names []string) string {
	parts := make([]string, 0, len(names))
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%q", name))
	}
	return strings.Join(parts, ", ")
}

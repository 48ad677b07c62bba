package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/shimward/shimward/integration/internal/node"
)

// TestCompatCRIO tests CRI-O with shimward in its table of runtimes, as described in
// docs/operations.md.
func TestCompatCRIO(t *testing.T) {
	crio := folder(t, "SHIMWARD_CRIO", "CRI-O (make test-compat)", "", "crio")
	e := newEngine(t, "podman", "conmon")
	e.node.Namespace = filepath.Base(e.dir) // the cgroup below which it puts its pods
	// CRI-O cannot import images, so import with Podman, which uses the same store.
	store := []string{"--root", filepath.Join(e.dir, "root"), "--runroot", filepath.Join(e.dir, "runroot"), "--storage-driver=vfs"}
	e.command = append([]string{"podman", "--tmpdir", filepath.Join(e.dir, "tmp"), "--events-backend=file"}, store...)
	// The image's command is a pod's first process here. It must end at once when it is stopped.
	e.importImage(t, `--change=CMD ["/bin/sleep","1000000"]`, "--change=STOPSIGNAL SIGKILL")
	e.must(t, "tag", engineImage, node.Image)
	config := filepath.Join(e.dir, "crio.conf")
	own := filepath.Join(e.dir, "shimward.toml")
	for path, text := range map[string][]byte{
		own:    withPaths(e.node, "version = 1\ndefault_mode = 'enforce'\n"),
		config: e.crioConfig(t, crio, own),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	connection, err := grpc.NewClient("unix://"+filepath.Join(e.dir, "crio.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	})
	client := runtime.NewRuntimeServiceClient(connection)
	startDaemon(t, e, func() bool {
		version, err := client.Version(testContext(t), &runtime.VersionRequest{})
		if err == nil {
			t.Log(version.GetRuntimeName(), version.GetRuntimeVersion())
		}
		return err == nil
	}, append([]string{filepath.Join(crio, "crio"), "--config", config, "--config-dir", ""}, store...)...)

	t.Run("pod", func(t *testing.T) {
		tryPodOver(t, e.node, client)
		e.wantNothingLeft(t)
	})
	t.Run("refused", func(t *testing.T) {
		pod := podConfig(e.node, map[string]string{"shimward.dev/mood": "good"})
		_, err := client.RunPodSandbox(testContext(t), &runtime.RunPodSandboxRequest{Config: pod, RuntimeHandler: "shimward"})
		wantWords(t, err, "shimward.dev/mood", "mode, profile")
		e.wantNothingLeft(t)
	})
}

// scoreless writes a runtime that calls shimward's but does not lower a process's OOM score.
// Lowering it requires CAP_SYS_RESOURCE, and CRI-O does so for a pod's first process. The
// equivalent setting of containerd is restrict_oom_score_adj.
func (e *engine) scoreless(t *testing.T) string {
	t.Helper()
	path := filepath.Join(e.dir, "scoreless")
	script := fmt.Sprintf(`#!/bin/sh
before=
for argument; do
	[ "$before" != --bundle ] || sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj": 0/' "$argument/config.json"
	before=$argument
done
exec %s "$@"
`, e.link)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// crioConfig returns a config that does not touch this machine's own CRI-O.
func (e *engine) crioConfig(t *testing.T, bin, own string) []byte {
	t.Helper()
	in := func(name string) string { return filepath.Join(e.dir, name) }
	return fmt.Appendf(nil, `
[crio]
log_dir = %[1]q
version_file = %[2]q
version_file_persist = %[3]q
clean_shutdown_file = %[4]q
[crio.api]
listen = %[5]q
[crio.image]
pause_image = %[6]q
pause_command = ""
[crio.network]
network_dir = %[7]q
[crio.runtime]
cgroup_manager = "cgroupfs"
container_attach_socket_dir = %[8]q
container_exits_dir = %[9]q
default_runtime = "shimward"
hooks_dir = []
namespaces_dir = %[10]q
pinns_path = %[11]q
[crio.runtime.runtimes.shimward]
monitor_cgroup = "pod"
monitor_env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SHIMWARD_CONFIG=%[12]s"]
monitor_path = "/usr/bin/conmon"
runtime_path = %[13]q
runtime_root = %[14]q
`, in("logs"), in("version"), in("version-persist"), in("clean"), in("crio.sock"), node.Image, in("cni"), in("attach"), in("exits"),
		in("namespaces"), filepath.Join(bin, "pinns"), own, e.scoreless(t), in("runc"))
}

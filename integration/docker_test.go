package integration

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDocker tests Debian's Docker with shimward as one of its runtimes.
func TestDocker(t *testing.T) {
	e := newEngine(t, "dockerd", "docker")
	type runtime struct {
		Path string   `json:"path"`
		Args []string `json:"runtimeArgs"`
	}
	runtimes := map[string]runtime{}
	for name := range engineConfigs {
		runtimes["shimward-"+name] = runtime{Path: e.link, Args: []string{"--shimward-config=" + e.config(name)}}
	}
	runtimes["shimward"] = runtime{Path: e.link} // with the config that its environment names
	daemon, err := json.Marshal(map[string]any{
		"runtimes": runtimes, "data-root": filepath.Join(e.dir, "data"), "exec-root": filepath.Join(e.dir, "exec"),
		"pidfile": filepath.Join(e.dir, "pid"), "hosts": []string{"unix://" + filepath.Join(e.dir, "docker.sock")},
		"bridge": "none", "iptables": false, "ip6tables": false, "storage-driver": "vfs", "cgroup-parent": "/" + filepath.Base(e.dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(e.dir, "daemon.json")
	if err := os.WriteFile(config, daemon, 0o600); err != nil {
		t.Fatal(err)
	}
	e.command = []string{"docker"}
	e.env = []string{"DOCKER_HOST=unix://" + filepath.Join(e.dir, "docker.sock"), "DOCKER_CONFIG=" + e.dir, "DOCKER_API_VERSION="}
	e.as = func(config string) []string { return []string{"--runtime=shimward-" + config} }
	e.broken = []string{e.config("broken"), "mood", "default_profile"}
	startDaemon(t, e, func() bool { return e.do(t, "info").Code == 0 }, "dockerd", "--config-file", config)
	e.importImage(t)
	t.Log(e.must(t, "version", "--format", "{{.Server.Version}}"))
	e.tryEngine(t)
	t.Run("a path alone", func(t *testing.T) {
		result := e.do(t, "run", "--rm", "--network=none", "--runtime=shimward", engineImage, "/bin/true")
		if result.Code != 0 {
			t.Error(result)
		}
	})
}

// startDaemon starts an engine's daemon, waits until it is up, and stops it at the end of the test.
func startDaemon(t *testing.T, e *engine, up func() bool, args ...string) {
	t.Helper()
	ctx := testContext(t)
	log, err := os.Create(filepath.Join(e.dir, "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), "SHIMWARD_CONFIG="+e.config("enforce"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("the daemon did not end on SIGTERM")
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the daemon said:\n%s", text)
		}
		folders, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(e.dir))
		for _, folder := range append(folders, "/sys/fs/cgroup/"+filepath.Base(e.dir)) {
			_ = unix.Rmdir(folder)
		}
	})
	waitFor(ctx, t, "the daemon", func() bool {
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the daemon ended at once:\n%s", text)
		case <-time.After(50 * time.Millisecond):
		}
		return up()
	})
}

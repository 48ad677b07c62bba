package integration

import (
	"path/filepath"
	"testing"
)

// TestPodman tests Debian's Podman with shimward as its runtime.
func TestPodman(t *testing.T) {
	e := newEngine(t, "podman", "conmon")
	e.command = []string{
		"podman", "--root", filepath.Join(e.dir, "root"), "--runroot", filepath.Join(e.dir, "runroot"), "--tmpdir", filepath.Join(e.dir, "tmp"),
		"--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime", e.link,
		"--runtime-flag", "shimward-config=" + e.config("enforce"),
	}
	e.limits = []string{"--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"}
	// A container's annotations set its mode, with one config for all.
	e.as = func(config string) []string {
		if config == "broken" {
			return []string{"--annotation=shimward.dev/mood=good"}
		}
		return []string{"--annotation=shimward.dev/mode=" + config}
	}
	e.broken = []string{"shimward.dev/mood", "mode, profile"}
	e.importImage(t)
	t.Log(e.must(t, "--version"))
	e.tryEngine(t)
}

package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCgroup(t *testing.T) {
	const (
		unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		legacy  = "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	)
	for content, want := range map[string]Cgroup{
		unified: {Mount: "/sys/fs/cgroup"}, hybrid: {Mount: "/sys/fs/cgroup/unified", Hybrid: true}, legacy: {Hybrid: true}, "garbage\n": {},
	} {
		path := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := cgroup(path); got != want {
			t.Errorf("%q: got %+v, want %+v", content, got, want)
		}
	}
}

func script(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAsk(t *testing.T) {
	containerd := script(t, "containerd", "echo containerd github.com/containerd/containerd/v2 v2.4.2 0123abc\n")
	runc := script(t, "runc", "echo runc version 1.5.2; echo spec: 1.3.0; echo go: go1.26; echo libseccomp: 2.5.4\n")
	mute := script(t, "runc", "exit 3\n")
	if got := ask(t.Context(), containerd, containerdVersion); got.Version != "v2.4.2" || got.Err != nil {
		t.Errorf("got %+v", got)
	}
	if got := ask(t.Context(), runc, runcVersion); got.Version != "1.5.2" || got.Seccomp != "2.5.4" || got.Err != nil {
		t.Errorf("got %+v", got)
	}
	if got := ask(t.Context(), mute, runcVersion); got.Err == nil {
		t.Errorf("got %+v", got)
	}
	if got := ask(t.Context(), runc, containerdVersion); got.Err == nil {
		t.Errorf("took runc for containerd: %+v", got)
	}
	if got := find("runc", "/nowhere:"+filepath.Dir(runc)+":"+filepath.Dir(mute)); got != runc {
		t.Errorf("found %q", got)
	}
}

func TestOnBPFFS(t *testing.T) {
	if err := onBPFFS(filepath.Join(t.TempDir(), "not", "there")); err == nil {
		t.Error("took a temporary folder for a bpffs")
	}
}

// Whatever this machine's facts are, gathering them must not panic and must yield a diagnosis.
func TestGather(t *testing.T) {
	report := Diagnose(Gather(t.Context(), Options{Path: os.Getenv("PATH")}))
	if len(report.Findings) < 8 {
		t.Errorf("got %+v", report)
	}
	for _, finding := range report.Findings {
		t.Logf("%+v", finding)
	}
}

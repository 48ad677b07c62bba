package emulate

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// The node here is a folder: what is tampered with must be gone, and the secret must arrive.
func TestTamper(t *testing.T) {
	requireNoYama(t)
	host, err := os.MkdirTemp("", "tamper") //nolint:usetesting // its path must be short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(host); err != nil {
			t.Error(err)
		}
	})
	const key = "kept-0123456789abcdef"
	events := filepath.Join(host, "var/log/shimward", key, "events.jsonl")
	pins := filepath.Join(host, "sys/fs/bpf/shimward/containers", key)
	state := filepath.Join(host, "run/shimward/containers", key)
	procs := filepath.Join(host, "sys/fs/cgroup/cgroup.procs")
	err = errors.Join(
		os.MkdirAll(filepath.Dir(events), 0o700), os.MkdirAll(pins, 0o700), os.MkdirAll(state, 0o700), os.MkdirAll(filepath.Dir(procs), 0o700),
		os.WriteFile(events, []byte("an event\n"), 0o600), os.WriteFile(filepath.Join(pins, "ring"), nil, 0o600), os.WriteFile(procs, nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(state, "notify.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	vectors, err := Select([]string{"tamper-store", "tamper-notify", "tamper-cgroup", "tamper-pins"})
	if err != nil {
		t.Fatal(err)
	}

	report := attack(t, Options{Vectors: vectors, Guard: Guard{Host: host}})
	for _, result := range report.Results {
		if named := result.Name != "tamper-cgroup"; named != (result.Outcome == OutcomeUnsupported) {
			t.Errorf("%s without a guard's name: %s, %s", result.Name, result.Outcome, result.detail())
		}
	}
	for _, folder := range []string{".", "..", key + "/", "../containers"} {
		pins, err := Select([]string{"tamper-pins"})
		if err != nil {
			t.Fatal(err)
		}
		if r := attack(t, Options{Vectors: pins, Guard: Guard{Host: host, Key: folder}}).Results[0]; r.Outcome != OutcomeFailed || r.Step != "" {
			t.Errorf("at a guard called %q: %s at %q, %s", folder, r.Outcome, r.Step, r.detail())
		}
	}
	report = attack(t, Options{Vectors: vectors, Guard: Guard{Host: host, Key: key}})
	for _, result := range report.Results {
		if !result.Got {
			t.Errorf("%s: %s, %s", result.Name, result.Outcome, result.detail())
		}
	}
	if info, err := os.Stat(events); err != nil || info.Size() != 0 {
		t.Errorf("the events are %v, %v, want an empty file", info, err)
	}
	if moved, err := os.ReadFile(procs); err != nil || string(moved) != "0" {
		t.Errorf("moved %q, %v, want 0", moved, err)
	}
	if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pins are still there: %v", err)
	}
	said := make([]byte, len(garbage))
	connection, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Read(said); err != nil || string(said) != garbage {
		t.Errorf("the socket got %q, %v", said, err)
	}
}

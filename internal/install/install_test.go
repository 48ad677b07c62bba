package install

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// An install that waits for an interrupted one must find the node as it was before.
func TestInterruptedInstallPutsBackUnderItsLock(t *testing.T) {
	dir := t.TempDir()
	o := Options{
		Prefix: filepath.Join(dir, "prefix"), Config: filepath.Join(dir, "config.toml"),
		Containerd: filepath.Join(dir, "containerd"), Source: dir, Version: "1", Output: io.Discard,
	}
	asked := filepath.Join(dir, "asked")
	if err := unix.Mkfifo(asked, 0o600); err != nil {
		t.Fatal(err)
	}
	// This containerd, when asked about the config that was written, signals that through the pipe
	// and then hangs.
	script := fmt.Sprintf("#!/bin/sh\n[ ! -e %q ] || { echo >%q; exec sleep infinity; }\necho version = 3\n", filepath.Dir(o.dropIn(3)), asked)
	for name, text := range map[string]string{"containerd": script, "config.toml": "version = 3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range binaryNames {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	installed := make(chan error, 1)
	go func() {
		_, err := Install(ctx, o)
		installed <- err
	}()
	if _, err := os.ReadFile(asked); err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob(filepath.Join(o.lib(), "1-*"))
	if err != nil || len(folders) != 1 {
		t.Fatal(folders, err)
	}
	for i := range 2000 { // makes undo take a while
		if err := os.WriteFile(filepath.Join(folders[0], fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lib, err := os.Open(o.lib())
	if err != nil {
		t.Fatal(err)
	}
	defer lib.Close()
	left := make(chan []string, 1)
	go func() {
		err := unix.Flock(int(lib.Fd()), unix.LOCK_EX)
		found, _ := filepath.Glob(filepath.Join(o.Prefix, "*", "*"))
		if err != nil {
			found = append(found, err.Error())
		}
		left <- found
	}()
	interrupt()
	if err := <-installed; err == nil {
		t.Error("it was not interrupted")
	}
	if found := <-left; len(found) > 0 {
		t.Errorf("another install would have found %q", found)
	}
}

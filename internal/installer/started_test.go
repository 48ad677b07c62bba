package installer

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestStartTime(t *testing.T) {
	started, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(started); age < 0 || age > time.Hour {
		t.Errorf("this test was started %s ago", age)
	}
	first, err := startTime(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	if first.After(started) {
		t.Errorf("started at %s, and its parent at %s", started, first)
	}
}

func TestStartTicks(t *testing.T) {
	const behind = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"
	for _, test := range []struct {
		stat string
		want int64
	}{
		{"7 (containerd)" + behind, 4242},
		{"7 (a) S 1 2 (b)" + behind, 4242},
		{"7 (containerd) S 1", 0},
		{"", 0},
		{"7 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 many", 0},
	} {
		got, err := startTicks(test.stat)
		if got != test.want || (err == nil) != (test.want != 0) {
			t.Errorf("%q: %d, %v; want %d", test.stat, got, err, test.want)
		}
	}
}

func TestServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, address := range []string{path, "unix://" + path} {
		if pid, err := server(address); err != nil || pid != os.Getpid() {
			t.Errorf("%s: pid %d, %v; want %d", address, pid, err, os.Getpid())
		}
	}
	if _, err := server(path + "-gone"); err == nil {
		t.Error("a socket that nobody has: no error")
	}
}

func TestSettled(t *testing.T) {
	set := func(generation, observed, wanted, updated, ready int64) daemonSet {
		var d daemonSet
		d.Metadata.Generation = generation
		d.Status.Observed, d.Status.Wanted, d.Status.Updated, d.Status.Ready = observed, wanted, updated, ready
		return d
	}
	for name, test := range map[string]struct {
		set  daemonSet
		want bool
	}{
		"nobody has looked at it": {set(1, 0, 0, 0, 0), false},
		"no node":                 {set(1, 1, 0, 0, 0), true},
		"one is not ready":        {set(1, 1, 3, 3, 2), false},
		"all are ready":           {set(1, 1, 3, 3, 3), true},
		"all of the form before":  {set(2, 1, 3, 3, 3), false},
		"one of the form before":  {set(2, 2, 3, 2, 3), false},
	} {
		if got := test.set.settled(); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

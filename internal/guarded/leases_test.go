package guarded

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLeases(t *testing.T) {
	paths := testPaths(t)
	key := writePlan(t, paths, "c", nil)
	now := time.Now()
	add := func(leases ...Lease) error {
		return ChangeLeases(paths, key, now, func(had []Lease) ([]Lease, error) { return append(had, leases...), nil })
	}
	if HasLeases(paths, key) {
		t.Error("it has leases before there is one")
	}
	if err := add(Lease{Exe: "/long", Until: now.Add(time.Hour)}, Lease{Exe: "/short", Until: now.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]int{0: 2, time.Minute: 1, time.Hour: 0} {
		leases, err := Leases(paths, key, now.Add(after))
		if err != nil || len(leases) != want || want == 1 && leases[0].Exe != "/long" {
			t.Errorf("after %v: %+v, %v; want %d", after, leases, err, want)
		}
	}
	if !HasLeases(paths, key) {
		t.Error("it has no leases")
	}
	if err := add(make([]Lease, maxLeases+1)...); err == nil || !strings.Contains(err.Error(), "--revoke") {
		t.Errorf("more than %d leases: %v", maxLeases, err)
	}
	if err := os.WriteFile(leaseFile(paths, key), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if leases, err := Leases(paths, key, now); err == nil {
		t.Errorf("took a torn file for %+v", leases)
	}
	if err := errors.Join(os.Remove(leaseFile(paths, key)), unix.Mkfifo(leaseFile(paths, key), 0o600)); err != nil {
		t.Fatal(err)
	}
	if leases, err := Leases(paths, key, now); err == nil {
		t.Errorf("took a pipe for %+v", leases)
	}
	if err := ChangeLeases(paths, "nobody", now, nil); err == nil {
		t.Error("a container that is not there can have leases")
	}
}

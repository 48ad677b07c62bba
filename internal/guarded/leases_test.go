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
	now, err := Now()
	if err != nil || now.SinceBoot <= 0 {
		t.Fatal(now, err)
	}
	add := func(leases ...Lease) error {
		return ChangeLeases(paths, key, now, func(had []Lease) ([]Lease, error) { return append(had, leases...), nil })
	}
	if HasLeases(paths, key) {
		t.Error("it has leases before there is one")
	}
	if err := add(Lease{Exe: "/long", Until: now.Time.Add(time.Hour)}, Lease{Exe: "/short", Until: now.Time.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]int{0: 2, time.Minute: 1, time.Hour: 0} {
		leases, err := Leases(paths, key, Moment{Time: now.Time.Add(after)})
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

// The kernel does not use the time of day: whatever the clock is set to, what the kernel allows
// must remain visible and revocable.
func TestLeasesAfterAStep(t *testing.T) {
	paths := testPaths(t)
	key := writePlan(t, paths, "c", nil)
	now, boot := time.Now(), 5*time.Hour
	stored := []Lease{
		{Exe: "/new", Until: now.Add(2 * time.Hour), Ends: boot + 2*time.Hour},
		{Exe: "/old", Until: now.Add(2 * time.Hour)}, // written by a version that did not record the end since boot
	}
	for _, test := range []struct {
		name         string
		step, passed time.Duration
		want         string
	}{
		{"no step", 0, time.Hour, "/new /old"},
		{"forward", 8 * time.Hour, time.Hour, "/new"},
		{"back", -8 * time.Hour, 2 * time.Hour, "/old"},
		{"no step, and over", 0, 2 * time.Hour, ""},
	} {
		if err := writeLeases(leaseFile(paths, key), stored); err != nil {
			t.Fatal(err)
		}
		moment := Moment{Time: now.Add(test.step + test.passed), SinceBoot: boot + test.passed}
		var changed []Lease
		err := ChangeLeases(paths, key, moment, func(had []Lease) ([]Lease, error) {
			changed = had
			return had, nil
		})
		listed, unread := Leases(paths, key, moment)
		if got := names(changed); err != nil || got != test.want {
			t.Errorf("%s: there are %q to change, %v; want %q", test.name, got, err, test.want)
		}
		if got := names(listed); unread != nil || got != test.want {
			t.Errorf("%s: %q are listed, %v; want %q", test.name, got, unread, test.want)
		}
	}
}

func names(leases []Lease) string {
	var all []string
	for _, l := range leases {
		all = append(all, l.Exe)
	}
	return strings.Join(all, " ")
}

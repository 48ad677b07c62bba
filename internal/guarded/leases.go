package guarded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// Lease is a temporary exception that somebody made for a running container. The kernel's copy is
// what is enforced, and the kernel ends it; this is the information about it for people.
type Lease struct {
	Exe     string    `json:"exe"` // path in the container's mount namespace
	Pod     bool      `json:"pod"` // for accesses to the pod's other containers, instead of the container's own processes
	Granted time.Time `json:"granted"`
	Until   time.Time `json:"until"`
	// Ends is when the kernel ends the lease, as a time since boot, because the time of day may be
	// changed in the meantime. It is 0 for a lease written by an earlier version, for which only
	// Until is known.
	Ends time.Duration `json:"ends_boot_ns,omitempty"`
	By   string        `json:"by"`  // who ran the command
	Why  string        `json:"why"` // in their own words
	File File          `json:"file"`
}

// Moment is one point in time, by both of the clocks that leases use.
type Moment struct {
	Time      time.Time
	SinceBoot time.Duration // CLOCK_BOOTTIME, which the kernel uses
}

// Now returns the current Moment.
func Now() (Moment, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return Moment{}, fmt.Errorf("read the clock: %w", err)
	}
	return Moment{Time: time.Now(), SinceBoot: time.Duration(boot.Nano())}, nil
}

// over reports whether a lease has expired.
func (l *Lease) over(now Moment) bool {
	if l.Ends > 0 {
		return now.SinceBoot >= l.Ends
	}
	return !now.Time.Before(l.Until)
}

// File identifies an executable in the kernel.
type File struct {
	Inode  uint64 `json:"inode"`
	Device uint64 `json:"device"`
}

// maxLeases limits the leases of one container, and maxLeaseFile the size in bytes of the file that
// holds them.
const (
	maxLeases    = 32
	maxLeaseFile = 1 << 20
)

func leaseFile(paths policy.Paths, key string) string {
	return filepath.Join(paths.Container(key), "leases.json")
}

// HasLeases reports whether leases were ever made for a container. It must be fast, because a
// caller waits for it.
func HasLeases(paths policy.Paths, key string) bool {
	_, err := os.Stat(leaseFile(paths, key))
	return err == nil
}

// Leases returns those leases of a container that have not expired at the given moment.
func Leases(paths policy.Paths, key string, now Moment) ([]Lease, error) {
	text, err := files.Read(leaseFile(paths, key), maxLeaseFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the container's leases: %w", err)
	}
	var leases []Lease
	if err := json.Unmarshal(text, &leases); err != nil {
		return nil, fmt.Errorf("read the container's leases: %w", err)
	}
	return slices.DeleteFunc(leases, func(l Lease) bool { return l.over(now) }), nil
}

// ChangeLeases replaces the list of a container's leases with the result of change, under a lock.
func ChangeLeases(paths policy.Paths, key string, now Moment, change func([]Lease) ([]Lease, error)) error {
	// Lock the folder, because the file is replaced; the folder exists as long as the container
	// does.
	folder, err := os.Open(paths.Container(key))
	if err != nil {
		return fmt.Errorf("change the container's leases: %w", err)
	}
	defer folder.Close() //nolint:errcheck // the lock ends with it
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("change the container's leases: %w", err)
	}
	leases, err := Leases(paths, key, now)
	if err != nil {
		return err
	}
	if leases, err = change(leases); err != nil {
		return err
	}
	if len(leases) > maxLeases {
		return fmt.Errorf("the container has %d leases: end some with --revoke first", maxLeases)
	}
	return writeLeases(leaseFile(paths, key), leases)
}

func writeLeases(path string, leases []Lease) error {
	text, err := json.Marshal(leases)
	if err != nil {
		return err
	}
	if err := files.Replace(path, text); err != nil {
		return fmt.Errorf("write the container's leases: %w", err)
	}
	return nil
}

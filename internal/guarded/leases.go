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

// Lease is an exception that somebody made for a container that runs, for a time.
// The kernel's side of it decides, and ends it; this is what people want to know of it.
type Lease struct {
	Exe     string    `json:"exe"` // in the container's mount namespace
	Pod     bool      `json:"pod"` // at processes of the pod's other containers
	Granted time.Time `json:"granted"`
	Until   time.Time `json:"until"`
	// Ends is when the kernel ends it, since boot: the time of day may be set meanwhile.
	// 0 is a lease of an earlier version's, of which Until is all that is known.
	Ends time.Duration `json:"ends_boot_ns,omitempty"`
	By   string        `json:"by"`  // who ran the command
	Why  string        `json:"why"` // in their own words
	File File          `json:"file"`
}

// Moment is a time by both of the clocks that leases go by.
type Moment struct {
	Time      time.Time
	SinceBoot time.Duration // CLOCK_BOOTTIME, the kernel's
}

// Now is the Moment.
func Now() (Moment, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return Moment{}, fmt.Errorf("read the clock: %w", err)
	}
	return Moment{Time: time.Now(), SinceBoot: time.Duration(boot.Nano())}, nil
}

// over says that a lease has run out.
func (l *Lease) over(now Moment) bool {
	if l.Ends > 0 {
		return now.SinceBoot >= l.Ends
	}
	return !now.Time.Before(l.Until)
}

// File is what the kernel knows an executable by.
type File struct {
	Inode  uint64 `json:"inode"`
	Device uint64 `json:"device"`
}

// maxLeases bounds the leases of one container, maxLeaseFile the file that they are in.
const (
	maxLeases    = 32
	maxLeaseFile = 1 << 20
)

func leaseFile(paths policy.Paths, key string) string {
	return filepath.Join(paths.Container(key), "leases.json")
}

// HasLeases tells whether leases were ever made for a container. It is asked
// while a caller waits.
func HasLeases(paths policy.Paths, key string) bool {
	_, err := os.Stat(leaseFile(paths, key))
	return err == nil
}

// Leases returns those leases of a container that have not run out at that moment.
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

// ChangeLeases has change make the list of a container's leases anew, while nobody else does.
func ChangeLeases(paths policy.Paths, key string, now Moment, change func([]Lease) ([]Lease, error)) error {
	// The folder is there as long as the container is: it is locked, as the file is replaced.
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

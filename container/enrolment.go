package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// Enrolment is what Enrol stores next to a container's Plan: where the container is, for finding out to
// which container a process belongs.
type Enrolment struct {
	PID    int    `json:"pid"`    // of its init
	Cgroup string `json:"cgroup"` // absolute path of its cgroup v2 directory
}

// enrolmentFile is the name of the Enrolment's file in policy.Paths.Container.
const enrolmentFile = "enrolled.json"

// maxEnrolment is the maximum size of that file, in bytes.
const maxEnrolment = 64 << 10

// ReadEnrolment reads a container's Enrolment. The error wraps fs.ErrNotExist if it has not been
// enrolled yet.
func ReadEnrolment(paths policy.Paths, key string) (Enrolment, error) {
	var e Enrolment
	path := filepath.Join(paths.Container(key), enrolmentFile)
	raw, err := files.Read(path, maxEnrolment)
	if err != nil {
		return e, fmt.Errorf("read where the container is: %w", err)
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("parse %s: %w", path, err)
	}
	if e.PID <= 0 || !filepath.IsAbs(e.Cgroup) {
		return e, fmt.Errorf("%s has pid %d and cgroup %q: not an enrolment", path, e.PID, e.Cgroup)
	}
	return e, nil
}

// Populated reports whether there are processes in a container's cgroup, or below it. It also
// returns true if that cannot be determined: only a container that was never enrolled, or whose
// cgroup is gone, certainly has none. It asks the kernel in addition to reading the file, which a
// cleaner may have removed, or somebody else may have written.
func Populated(paths policy.Paths, key string) bool {
	enrolment, err := ReadEnrolment(paths, key)
	switch {
	case err == nil && enrolment.Populated():
		return true
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return true
	default:
		return bpf.Populated(paths, key)
	}
}

// Populated is like the function Populated, for the cgroup where the container was enrolled.
func (e *Enrolment) Populated() bool {
	raw, err := files.Read(filepath.Join(e.Cgroup, "cgroup.events"), maxEnrolment)
	if err != nil {
		// The kernel does not remove a cgroup that is not empty; ENODEV means that it is being
		// removed.
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV)
	}
	return strings.Contains("\n"+string(raw), "\npopulated 1\n")
}

// emptyWithin is how long the processes of a container that is being deleted, which
// the runtime has killed, may take to end.
const emptyWithin = 2 * time.Second

// AwaitEmpty waits until a container that was reported as deleted has no processes left. It returns
// an error if some remain: the report was wrong, and the container's guard stays.
func AwaitEmpty(ctx context.Context, populated func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, emptyWithin)
	defer cancel()
	for populated() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("processes of the container are left in its cgroup: its guard stays until they have ended")
		}
	}
	return nil
}

func writeEnrolment(plan *policy.Plan, e Enrolment) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := filepath.Join(plan.Paths.Container(plan.Identity.Key), enrolmentFile)
	if err := files.Replace(path, raw); err != nil {
		return fmt.Errorf("write where the container is: %w", err)
	}
	return nil
}

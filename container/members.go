package container

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/files"
	"github.com/shimward/shimward/policy"
)

// member is a guarded container of this node, whichever shim hosts it.
type member struct {
	plan     *policy.Plan
	cgroupID uint64 // inode number of its cgroup's directory
}

// members finds the guarded container of a given cgroup, from the state that all shims of the node
// keep in one folder.
type members struct {
	paths policy.Paths
	self  member // the container that asks: known even if its files were removed

	mu     sync.Mutex
	known  map[string]member // guarded by mu; by key
	listed time.Time         // guarded by mu; the folder's modification time when it was listed
	whole  bool              // guarded by mu; everything that was listed is known, and the modification time will show any change
}

// settle is how long after a change of the folder another change may leave the modification time
// the same: file times advance with the kernel's clock tick.
const settle = 50 * time.Millisecond

// byID finds a container by its cgroup's ID.
func (m *members) byID(cgroupID uint64) (member, bool) {
	if cgroupID == 0 {
		return member{}, false
	}
	if cgroupID == m.self.cgroupID {
		return m.self, true
	}
	return m.find(func(one member) bool { return one.cgroupID == cgroupID })
}

func (m *members) find(match func(member) bool) (member, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	for _, one := range m.known {
		if match(one) {
			return one, true
		}
	}
	return member{}, false
}

// refresh lists the folder again if it may have changed. What cannot be read is not a member: an
// access to it is then judged as one to a stranger, which is stricter.
func (m *members) refresh() {
	folder := filepath.Dir(m.paths.Container("key"))
	info, err := os.Stat(folder)
	if err != nil {
		m.known, m.whole = nil, false
		return
	}
	if m.whole && info.ModTime().Equal(m.listed) {
		return
	}
	now := time.Now()
	entries, err := os.ReadDir(folder)
	if err != nil {
		m.known, m.whole = nil, false
		return
	}
	m.known, m.listed = make(map[string]member, len(entries)), info.ModTime()
	m.whole = now.Sub(m.listed) > settle
	for _, entry := range entries {
		one, ok := readMember(m.paths, entry.Name())
		if !ok {
			m.whole = false // not enrolled yet: look again
			continue
		}
		m.known[entry.Name()] = one
	}
}

func readMember(paths policy.Paths, key string) (member, bool) {
	raw, err := files.Read(paths.Plan(key), policy.MaxPlanBytes)
	if err != nil {
		return member{}, false
	}
	plan, err := policy.ParsePlan(raw)
	if err != nil || plan.Identity.Key != key {
		return member{}, false
	}
	enrolment, err := ReadEnrolment(paths, key)
	if err != nil {
		return member{}, false
	}
	one, err := newMember(plan, enrolment)
	return one, err == nil
}

func newMember(plan *policy.Plan, where Enrolment) (member, error) {
	var stat unix.Stat_t
	if err := unix.Stat(where.Cgroup, &stat); err != nil {
		return member{}, err
	}
	return member{plan: plan, cgroupID: stat.Ino}, nil
}

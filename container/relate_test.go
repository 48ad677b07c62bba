package container

import (
	"os"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/bpf"
	"github.com/shimward/shimward/policy"
)

func TestRelate(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	for _, test := range []struct {
		actor, target int
		want          access.Relation
	}{
		{100, 100, access.RelationSelf},
		{100, 101, access.RelationChild},
		{101, 100, access.RelationSameContainer},
		{110, 100, access.RelationSameContainer},
		{100, 110, access.RelationSameContainer},
		{110, 111, access.RelationChild},         // 111 has no guard
		{100, 111, access.RelationSameContainer}, // the same
		{100, 200, access.RelationSamePod},
		{200, 100, access.RelationSamePod}, // inbound
		{100, 300, access.RelationOtherContainer},
		{300, 100, access.RelationOtherContainer},
		{100, 400, access.RelationHost},
		{400, 100, access.RelationHost},
		{100, 500, access.RelationHost},
		{100, 0, access.RelationHost},
		{100, -1, access.RelationHost},
	} {
		if got := c.relate(c.sideOf(test.actor), c.sideOf(test.target)); got != test.want {
			t.Errorf("%d at %d: %v, want %v", test.actor, test.target, got, test.want)
		}
	}
}

// After an exec has ended, its pid may be another process's, and so may that one's children.
func TestRelateKnowsPidsThatCameBack(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	if !c.sideOf(111).own {
		t.Error("an exec's child is not the container's")
	}
	c.kernel.(*fakeKernel).guards[110] = 0
	if err := os.WriteFile(c.proc.path(110, "stat"), []byte(statLine("sshd", 1, 99)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{110, 111} {
		if c.sideOf(pid).own {
			t.Errorf("%d is taken for the container's", pid)
		}
		if got := c.relate(c.sideOf(100), c.sideOf(pid)); got != access.RelationHost {
			t.Errorf("100 at %d: %v", pid, got)
		}
	}
}

// A process that was moved into the container's cgroup must not become one of its own.
func TestRelateForeign(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	c.kernel.(*fakeKernel).foreign = 101
	for _, pair := range [][2]int{{100, 101}, {101, 100}} {
		if got := c.relate(c.sideOf(pair[0]), c.sideOf(pair[1])); got != access.RelationOtherContainer {
			t.Errorf("%d at %d: %v", pair[0], pair[1], got)
		}
	}
	one := bpf.Guard{Cgroup: 1, Foreign: true, Origin: 101, OriginStart: 1}
	other := one
	if strangers(one, other) {
		t.Error("those who came together are strangers")
	}
	if other.Origin = 102; !strangers(one, other) {
		t.Error("two that were moved here are one container's")
	}
}

// A process of a container that is gone belongs to no container; a process whose guard cannot be
// read belongs to its ancestors' container.
func TestRelateWithoutGuard(t *testing.T) {
	c := testContainer(t, policy.ModeEnforce, policy.ProfileBaseline)
	kernel := &fakeKernel{guards: map[int]uint64{100: c.kernel.(*fakeKernel).guards[100], 200: 1}}
	c.kernel = kernel
	for target, want := range map[int]access.Relation{
		101: access.RelationChild, 110: access.RelationSameContainer, 200: access.RelationHost, 300: access.RelationHost,
	} {
		if got := c.relate(c.sideOf(100), c.sideOf(target)); got != want {
			t.Errorf("100 at %d: %v, want %v", target, got, want)
		}
	}
}

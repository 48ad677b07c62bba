package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Floor is the minimum that containers of some namespaces must accept. A container that asks for
// nothing is raised to it; one that asks for less is rejected.
type Floor struct {
	// Namespaces are patterns (path.Match) of Kubernetes namespaces or, for
	// containers outside Kubernetes, of containerd's.
	Namespaces []string `toml:"namespaces"`
	Mode       Mode     `toml:"mode"`
	// Profile, if set, is the profile that a container's rules must be at least as strict as.
	Profile string `toml:"profile"`
	// Exceptions lets pods allow executables (shimward.dev/allow) to do what Profile refuses.
	Exceptions bool `toml:"exceptions"`
}

func (f *Floor) matches(namespace string) bool {
	return slices.ContainsFunc(f.Namespaces, func(pattern string) bool {
		ok, err := path.Match(pattern, namespace)
		return err != nil || ok // check rejects malformed patterns; if one got through, the floor would apply
	})
}

func (f *Floor) String() string { return "floor " + quote(strings.Join(f.Namespaces, ", ")) }

// strength ranks modes, from weakest to strongest.
func (m Mode) strength() int {
	return slices.Index([]Mode{ModeOff, ModeAudit, ModeEnforce}, m)
}

func (c *Config) checkFloors() error {
	if len(c.Floors) > maxFloors {
		return fmt.Errorf("floor: there are %d, keep at most %d", len(c.Floors), maxFloors)
	}
	for i := range c.Floors {
		if err := c.checkFloor(&c.Floors[i]); err != nil {
			return fmt.Errorf("floor number %d: %w", i+1, err)
		}
	}
	return nil
}

func (c *Config) checkFloor(floor *Floor) error {
	if len(floor.Namespaces) == 0 {
		return errors.New(`namespaces is missing: write namespaces = ["*"] for all`)
	}
	if len(floor.Namespaces) > maxFloorNamespaces {
		return fmt.Errorf("namespaces has %d patterns: keep at most %d", len(floor.Namespaces), maxFloorNamespaces)
	}
	for _, pattern := range floor.Namespaces {
		if _, err := path.Match(pattern, "x"); err != nil || pattern == "" || len(pattern) > maxNamespace || !printable(pattern) {
			return fmt.Errorf(`namespaces: %s: write a name or a pattern such as "prod-*"`, quote(pattern))
		}
	}
	if floor.Mode != ModeAudit && floor.Mode != ModeEnforce {
		return fmt.Errorf(`mode = %s: write "audit" or "enforce"`, quote(string(floor.Mode)))
	}
	if floor.Profile != "" {
		if _, err := c.Profile(floor.Profile); err != nil {
			return fmt.Errorf("profile = %w", err)
		}
	}
	if floor.Exceptions && floor.Profile == "" {
		return errors.New("exceptions = true: has no meaning without a profile, write one or leave it out")
	}
	return nil
}

func (c *Config) floorsOf(namespace string) []*Floor {
	var floors []*Floor
	for i := range c.Floors {
		if c.Floors[i].matches(namespace) {
			floors = append(floors, &c.Floors[i])
		}
	}
	return floors
}

// below returns the name of a rule of profile, including its added exceptions, that is weaker than
// the floor requires, or "" if there is none.
func (c *Config) below(floor *Floor, profile Profile) (string, error) {
	if floor.Profile == "" {
		return "", nil
	}
	least, err := c.Profile(floor.Profile)
	if err != nil {
		return "", err
	}
	asked := profile.each()
	for i, entry := range least.each() {
		if asked[i].weaker(entry) {
			return entry.name, nil
		}
	}
	if name := weakerRule(profile.Rule, &least); name != "" {
		return name, nil
	}
	if !subset(least.RefuseRisks, profile.RefuseRisks) {
		return "refuse_risks", nil
	}
	if floor.Exceptions {
		return "", nil
	}
	inside := least.SelfMemWrite == ActionRefuse || least.Child == ActionRefuse || least.SameContainer == ActionRefuse
	if inside && !subset(profile.Allow, least.Allow) {
		return "allow", nil
	}
	if least.SamePod == ActionRefuse && !subset(profile.AllowPod, least.AllowPod) {
		return "allow_pod", nil
	}
	return "", nil
}

func subset[T comparable](some, all []T) bool {
	return !slices.ContainsFunc(some, func(one T) bool { return !slices.Contains(all, one) })
}

package policy

import (
	"fmt"
)

// Plan decides everything about a container before it is created. An error is meant for the pod's
// author: it names the annotation and says what to write instead.
func (c *Config) Plan(facts Facts) (*Plan, error) {
	identity, err := facts.identity()
	if err != nil {
		return nil, err
	}
	asked, err := parseAnnotations(facts.Annotations, identity.Name)
	if err != nil {
		return nil, err
	}
	namespace := identity.floorNamespace()
	floors := c.floorsOf(namespace)
	mode, err := c.chooseMode(asked, floors, namespace)
	if err != nil {
		return nil, err
	}
	name, profile, err := c.chooseProfile(asked, floors, namespace)
	if err != nil {
		return nil, err
	}
	plan := &Plan{
		Identity:    identity,
		Mode:        mode,
		Profile:     name,
		Rules:       profile.Rules,
		Rule:        profile.Rule,
		WithoutLSM:  c.WithoutLSM,
		Allow:       profile.Allow,
		AllowPod:    profile.AllowPod,
		RefuseRisks: profile.RefuseRisks,
		Paths:       c.Paths,
	}
	if facts.sandbox() {
		// The pause container runs one program of its own and has the same namespaces as the pod's
		// containers. The executables that the pod names are not in its root, and could not be
		// found there.
		plan.Allow, plan.AllowPod, plan.RefuseRisks = nil, nil, nil
	}
	plan.Digest = plan.digest()
	return plan, nil
}

func (c *Config) chooseMode(asked request, floors []*Floor, namespace string) (Mode, error) {
	written, explicit := asked[KeyMode]
	mode := c.DefaultMode
	if explicit {
		mode = Mode(written.value)
	}
	for _, floor := range floors {
		if mode.strength() >= floor.Mode.strength() {
			continue
		}
		if explicit {
			return "", fmt.Errorf("annotation %s: %q is below what this node's config requires for namespace %s (%s): write %q, or remove the annotation",
				written.key, mode, quote(namespace), floor, strongest(floors))
		}
		mode = floor.Mode
	}
	return mode, nil
}

func strongest(floors []*Floor) Mode {
	mode := ModeOff
	for _, floor := range floors {
		if floor.Mode.strength() > mode.strength() {
			mode = floor.Mode
		}
	}
	return mode
}

// chooseProfile returns the profile that was asked for. If none was, it returns the default or, if
// that is below a floor, the first of the floors' profiles that is below none.
func (c *Config) chooseProfile(asked request, floors []*Floor, namespace string) (string, Profile, error) {
	written, explicit := asked[KeyProfile]
	candidates := []string{c.DefaultProfile}
	if explicit {
		candidates = []string{written.value}
	} else {
		for _, floor := range floors {
			if floor.Profile != "" {
				candidates = append(candidates, floor.Profile)
			}
		}
	}
	var firstErr error
	for _, name := range candidates {
		profile, err := c.Profile(name)
		if err != nil {
			return "", Profile{}, annotate(written, KeyProfile, err)
		}
		err = c.checkAgainst(floors, name, profile, written, namespace)
		if err == nil {
			profile, err = c.except(profile, asked, floors, namespace)
			return name, profile, err
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return "", Profile{}, firstErr
}

func (c *Config) checkAgainst(floors []*Floor, name string, profile Profile, written setting, namespace string) error {
	for _, floor := range floors {
		weaker, err := c.below(floor, profile)
		if err != nil {
			return err
		}
		if weaker == "" {
			continue
		}
		if written.key == "" {
			return fmt.Errorf("this node's config has no profile that meets every floor of namespace %s: the administrator has to add one, %q is weaker in %s than %q (%s)",
				quote(namespace), name, weaker, floor.Profile, floor)
		}
		return fmt.Errorf("annotation %s: %q is below what this node's config requires for namespace %s, its %s is weaker than that of %q (%s): write %q, or remove the annotation",
			written.key, name, quote(namespace), weaker, floor.Profile, floor, floor.Profile)
	}
	return nil
}

// except adds the executables that the annotations allow.
func (c *Config) except(profile Profile, asked request, floors []*Floor, namespace string) (Profile, error) {
	for _, list := range []struct {
		key  string
		into *[]string
	}{{KeyAllow, &profile.Allow}, {KeyAllowPod, &profile.AllowPod}} {
		written, ok := asked[list.key]
		if !ok {
			continue
		}
		*list.into = union(*list.into, written.paths)
		for _, floor := range floors {
			weaker, err := c.below(floor, profile)
			if err != nil {
				return Profile{}, err
			}
			if weaker != "" {
				return Profile{}, fmt.Errorf("annotation %s: this node's config accepts no exceptions from pods in namespace %s (%s): remove the annotation, or ask the node's administrator for a profile that allows these executables",
					written.key, quote(namespace), floor)
			}
		}
		if err := checkExceptionCount(profile.Allow, profile.AllowPod); err != nil {
			return Profile{}, fmt.Errorf("annotation %s, with the profile's own list: %w", written.key, err)
		}
	}
	return profile, nil
}

// annotate attributes err to the annotation if one was written, and to the config otherwise.
func annotate(written setting, key string, err error) error {
	if written.key == "" {
		return fmt.Errorf("config: default_%s = %w", key, err)
	}
	return fmt.Errorf("annotation %s: %w", written.key, err)
}

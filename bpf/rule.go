package bpf

import (
	"fmt"

	"github.com/shimward/shimward/policy"
)

// setRules stores a plan's rules where the programs look for them.
func (c *kernelContainer) setRules(rules []policy.Rule) error {
	if len(rules) > len(c.Rule) {
		return fmt.Errorf("there are %d rules, the programs have room for %d", len(rules), len(c.Rule))
	}
	c.Rules = uint8(len(rules)) //nolint:gosec // no more than there is room for
	for i := range rules {
		rule, err := kernelRuleOf(&rules[i])
		if err != nil {
			return fmt.Errorf("the rule %s: %w", rules[i].Name, err)
		}
		c.Rule[i] = rule
		c.Asks |= rule.Asks
	}
	return nil
}

func kernelRuleOf(rule *policy.Rule) (kernelRule, error) {
	action, err := kernelActionOf(rule.Action)
	if err != nil {
		return kernelRule{}, err
	}
	out := kernelRule{
		Vectors: bits[uint32](rule.Vectors), Operations: bits[uint8](rule.Operations), Relations: bits[uint8](rule.Where()),
		Action: action, Uids: uint32(len(rule.UIDs)), //nolint:gosec // no more than there is room for
	}
	if len(rule.UIDs) > len(out.Uid) {
		return kernelRule{}, fmt.Errorf("it has %d uids, the programs have room for %d", len(rule.UIDs), len(out.Uid))
	}
	copy(out.Uid[:], rule.UIDs)
	if len(rule.Executables) > 0 {
		out.Asks |= uint8(kernelRuleAsksRULE_ASKS_ACTOR)
	}
	if len(rule.TargetExecutables) > 0 {
		out.Asks |= uint8(kernelRuleAsksRULE_ASKS_TARGET)
	}
	return out, nil
}

// bits returns a condition's values as a bit set, or the full set if there are none.
func bits[Set uint8 | uint32, Value ~uint8](values []Value) Set {
	if len(values) == 0 {
		return ^Set(0)
	}
	var set Set
	for _, value := range values {
		set |= 1 << value
	}
	return set
}

package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// MaxPlanBytes is the maximum size of a stored Plan.
const MaxPlanBytes = 1 << 20

// ParsePlan parses a Plan that was stored as JSON. It rejects anything that Config.Plan could not
// have made.
func ParsePlan(content []byte) (*Plan, error) {
	if len(content) > MaxPlanBytes {
		return nil, fmt.Errorf("plan has %d bytes, at most %d are accepted", len(content), MaxPlanBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	plan := &Plan{}
	if err := decoder.Decode(plan); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("plan: there is data after its end")
	}
	if err := plan.check(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return plan, nil
}

func (p *Plan) check() error {
	if err := p.Identity.check(); err != nil {
		return err
	}
	if want := Key(p.Identity.ID, p.Identity.Bundle); p.Identity.Key != want {
		return fmt.Errorf("key is %s, but its ID and bundle give %s", quote(p.Identity.Key), quote(want))
	}
	if err := checkMode(p.Mode); err != nil {
		return fmt.Errorf("mode = %w", err)
	}
	if !label(p.Profile) {
		return fmt.Errorf("profile = %s: is not the name of a profile", quote(p.Profile))
	}
	for _, entry := range p.Rules.each() {
		if err := entry.check(); err != nil {
			return fmt.Errorf("rules.%s = %w", entry.name, err)
		}
	}
	if err := checkRules(p.Rule, p.Rules.Recon); err != nil {
		return err
	}
	if err := checkWithoutLSM(p.WithoutLSM); err != nil {
		return fmt.Errorf("without_lsm = %w", err)
	}
	for _, paths := range [][]string{p.Allow, p.AllowPod} {
		for _, path := range paths {
			if err := CheckException(path); err != nil {
				return fmt.Errorf("allow: %w", err)
			}
		}
	}
	if err := checkExceptionCount(p.Allow, p.AllowPod); err != nil {
		return err
	}
	if err := checkRisks(p.RefuseRisks); err != nil {
		return fmt.Errorf("refuse_risks: %w", err)
	}
	if err := p.Paths.check(); err != nil {
		return err
	}
	if p.Rootfs != "" && !filepath.IsAbs(p.Rootfs) {
		return fmt.Errorf("rootfs = %s: it must be absolute", quote(p.Rootfs))
	}
	if p.Digest != p.digest() {
		return errors.New("digest does not fit its content")
	}
	return nil
}

// digest hashes what decides accesses, and nothing else, so that containers under one policy share
// it.
func (p *Plan) digest() string {
	decides := struct {
		Mode        Mode       `json:"mode"`
		Profile     string     `json:"profile"`
		Rules       Rules      `json:"rules"`
		Rule        []Rule     `json:"rule,omitempty"`
		WithoutLSM  WithoutLSM `json:"without_lsm"`
		Allow       []string   `json:"allow,omitempty"`
		AllowPod    []string   `json:"allow_pod,omitempty"`
		RefuseRisks []Risk     `json:"refuse_risks,omitempty"`
	}{p.Mode, p.Profile, p.Rules, p.Rule, p.WithoutLSM, p.Allow, p.AllowPod, p.RefuseRisks}
	text, err := json.Marshal(decides)
	if err != nil {
		return "" // cannot happen, since it only has strings; ParsePlan rejects a Plan without a digest
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

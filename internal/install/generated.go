package install

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template/parse"
	"time"
)

// generatedConfig is the path, below their data folder, of the root file that k3s and RKE2 write
// each time they start (k3s, pkg/agent/config: Containerd.Config; RKE2 embeds k3s's agent). They
// generate it from a text/template next to it, or from a built-in one if there is none.
const generatedConfig = "/agent/etc/containerd/config.toml"

// generatedSocket is where the containerd of k3s and of RKE2 listens (k3s, pkg/agent/config:
// Containerd.Address).
const generatedSocket = "/run/k3s/containerd/containerd.sock"

// includeBase is a template that includes all of k3s's built-in one. k3s provides that under the
// name "base" since v1.24.17, v1.25.13, v1.26.8, v1.27.5 and v1.28.1 (k3s-io/k3s#7991).
const includeBase = "{{ template \"base\" . }}\n\n"

// locate returns the root file that was named, or else the one in the installation's record, or
// else the one that exists. A link to a file that k3s or RKE2 write is resolved: what is written to
// that file is lost when they start.
func (o Options) locate(root string) (string, error) {
	config := o.Config
	if config == "" {
		record, err := loadRecord(o.record())
		if err != nil {
			return "", err
		}
		if record.written() {
			config = record.Config
		} else if config, err = findConfig(root); err != nil {
			return "", err
		}
	}
	if target, err := filepath.EvalSymlinks(config); err == nil && isGenerated(target) && !isGenerated(config) {
		config = target
	}
	if isGenerated(config) && !exists(config) {
		return "", fmt.Errorf("%s does not exist: start k3s or RKE2, which write it, or name another config with --containerd-config", config)
	}
	return config, nil
}

// findConfig returns containerd's root file on a node where nobody has named it: containerd's own
// or, if that does not exist, that of k3s or RKE2.
func findConfig(root string) (string, error) {
	own := filepath.Join(root, "etc/containerd/config.toml")
	if exists(own) {
		return own, nil
	}
	found, err := findGenerated(root)
	return cmp.Or(found, own), err
}

// findGenerated returns the root file of k3s or RKE2, or "" if there is neither. It is an error if
// there are both.
func findGenerated(root string) (string, error) {
	var found []string
	for _, data := range []string{"var/lib/rancher/k3s", "var/lib/rancher/rke2"} {
		if path := filepath.Join(root, data, generatedConfig); exists(path) {
			found = append(found, path)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("this node has both k3s's containerd and RKE2's: choose one with --containerd-config %s", strings.Join(found, " or "))
	}
}

// Socket returns the socket of the containerd that shimward is installed for, or would be installed
// for if no other is named.
func Socket(prefix string) (string, error) {
	config, err := Options{Prefix: prefix}.locate("/")
	if err != nil {
		return "", fmt.Errorf("find containerd's socket, unless --address names it: %w", err)
	}
	return socketOf(config), nil
}

// ConfigAt returns the root file of the containerd that listens on socket if that is known to be
// k3s's or RKE2's, and "" otherwise.
func ConfigAt(socket string) (string, error) {
	if socket != generatedSocket {
		return "", nil
	}
	return findGenerated("/")
}

// socketOf returns the socket of the containerd that reads a root file.
func socketOf(config string) string {
	if isGenerated(config) {
		return generatedSocket
	}
	return "/run/containerd/containerd.sock"
}

func isGenerated(config string) bool { return strings.HasSuffix(config, generatedConfig) }

func (o Options) generated() bool { return isGenerated(o.Config) }

// command returns the containerd binary that the root file is for. k3s links data/current to the
// version that it runs (cmd/k3s, extract), and RKE2 links bin (pkg/bootstrap, symlinkBinDir).
func (o Options) command() string {
	if o.Containerd != "" || !o.generated() {
		return cmp.Or(o.Containerd, "containerd")
	}
	data := strings.TrimSuffix(o.Config, generatedConfig)
	if rke2 := filepath.Join(data, "bin/containerd"); exists(rke2) {
		return rke2
	}
	return filepath.Join(data, "data/current/bin/containerd")
}

// template returns the path of the template for a generated root file of this version.
func (o Options) template(version int) string {
	name := "config-v3.toml.tmpl"
	if version == 2 {
		name = "config.toml.tmpl"
	}
	return filepath.Join(filepath.Dir(o.Config), name)
}

// inTemplate determines, for a generated root file, where the runtime is or goes. What counts is
// the template, because the root file is as the last start of k3s left it.
func (s *site) inTemplate(o Options, before dump) error {
	if err := s.checkVersion(o, before); err != nil {
		return err
	}
	s.edited = o.template(s.version)
	text, err := os.ReadFile(s.edited)
	s.there = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the template of containerd's config: %w", err)
	}
	s.text = includeBase
	if s.there {
		s.text = string(text)
	}
	_, found, err := withoutBlock(s.text)
	if err != nil {
		return fmt.Errorf("%s: %w", s.edited, err)
	}
	switch {
	case found && s.state == missing:
		s.state = awaited
		return s.checkAwaited(o)
	case !found && s.state == configured && strings.Contains(string(s.root), runtimeType) && !strings.Contains(s.text, runtimeType):
		return fmt.Errorf("%s still has a runtime that is no longer in %s: restart k3s or RKE2, then install again", o.Config, s.edited)
	case s.state == missing && s.there:
		return s.checkTemplate(o)
	}
	return nil
}

// checkVersion refuses to install if the next start uses another template than the last one did.
// k3s with containerd 2 (since v1.31.6, v1.32.2) uses config-v3.toml.tmpl, else config.toml.tmpl,
// else its built-in template of version 3 (pkg/agent/containerd/config.go, writeContainerdConfig).
// With containerd 1.7, whose config has version 2, k3s knows only config.toml.tmpl.
func (s *site) checkVersion(o Options, before dump) error {
	if before.version() == 2 {
		return nil
	}
	next := 2
	if exists(o.template(3)) || !exists(o.template(2)) {
		next = 3
	}
	if (next == 2) == (s.version == 2) {
		return nil
	}
	return fmt.Errorf("%s has version %d and was not generated from %s, which k3s or RKE2 will use at their next start: restart them, then install again; if this error remains, rename that template to %s, the name for its version",
		o.Config, s.version, o.template(next), filepath.Base(o.template(s.version)))
}

// checkTemplate refuses a template that the block cannot be appended to, or about which containerd
// cannot be asked because the template was changed since the last start: only what that start
// generated is known.
func (s *site) checkTemplate(o Options) error {
	tree := parse.New(s.edited)
	tree.Mode = parse.SkipFuncCheck // k3s provides functions of its own
	if _, err := tree.Parse(s.text, "", "", make(map[string]*parse.Tree)); err != nil {
		return fmt.Errorf("%s is not a template that k3s or RKE2 can read, fix it first: %w", s.edited, err)
	}
	info, err := os.Stat(s.edited)
	if err != nil {
		return err
	}
	if info.ModTime().After(time.Now()) { // the config would be older than that after any restart
		return fmt.Errorf("%s has a modification time in the future: touch it, restart k3s or RKE2, then install again", s.edited)
	}
	later, err := changedAfter(s.edited, o.Config)
	if err == nil && later {
		err = fmt.Errorf("%s was changed after %s was generated from it: restart k3s or RKE2, then install again", s.edited, o.Config)
	}
	return err
}

// checkAwaited returns an error if a start of k3s or RKE2 did not bring the runtime that the
// template contains.
func (s *site) checkAwaited(o Options) error {
	later, err := changedAfter(o.Config, s.edited)
	if err == nil && later {
		err = fmt.Errorf("%s was generated after shimward's runtime was added to %s, but does not contain it: restart k3s or RKE2, and if it is still missing then, check what they generate from that template",
			o.Config, s.edited)
	}
	return err
}

// changedAfter reports whether a file was changed after another.
func changedAfter(path, other string) (bool, error) {
	a, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	b, err := os.Stat(other)
	if err != nil {
		return false, err
	}
	return a.ModTime().After(b.ModTime()), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

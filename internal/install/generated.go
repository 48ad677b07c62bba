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

// generatedConfig is, below their data folder, the root file that k3s and RKE2 write each
// time that they start (k3s, pkg/agent/config: Containerd.Config; RKE2 has k3s's agent in
// it). They make it of a text/template beside it, or of their own where there is none.
const generatedConfig = "/agent/etc/containerd/config.toml"

// generatedSocket is where k3s's containerd listens, and RKE2's (k3s, pkg/agent/config:
// Containerd.Address).
const generatedSocket = "/run/k3s/containerd/containerd.sock"

// includeBase is a template with all of k3s's own in it, which it knows by the name "base"
// since v1.24.17, v1.25.13, v1.26.8, v1.27.5 and v1.28.1 (k3s-io/k3s#7991).
const includeBase = "{{ template \"base\" . }}\n\n"

// locate is the root file that was named, or that of the installation, or the one that is
// there. A link to one that k3s or RKE2 write is that: what goes there is lost when they
// start.
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
		return "", fmt.Errorf("%s is not there: start k3s or RKE2, which write it, or name another with --containerd-config", config)
	}
	return config, nil
}

// findConfig is containerd's root file on a node where nobody has named it: containerd's
// own or, where that is not there, that of k3s or RKE2.
func findConfig(root string) (string, error) {
	own := filepath.Join(root, "etc/containerd/config.toml")
	if exists(own) {
		return own, nil
	}
	found, err := findGenerated(root)
	return cmp.Or(found, own), err
}

// findGenerated is the root file of k3s or RKE2; empty: it has neither.
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
		return "", fmt.Errorf("this node has a containerd of k3s's and one of RKE2's: say which with --containerd-config %s", strings.Join(found, " or "))
	}
}

// Socket is where the containerd listens that shimward is installed for, or would be if
// nobody named another.
func Socket(prefix string) (string, error) {
	config, err := Options{Prefix: prefix}.locate("/")
	if err != nil {
		return "", fmt.Errorf("find containerd's socket, unless --address names it: %w", err)
	}
	return socketOf(config), nil
}

// ConfigAt is the root file of the node's containerd that listens there, where that is known
// to be k3s's or RKE2's; else it is empty.
func ConfigAt(socket string) (string, error) {
	if socket != generatedSocket {
		return "", nil
	}
	return findGenerated("/")
}

// socketOf is where the containerd of a root file listens.
func socketOf(config string) string {
	if isGenerated(config) {
		return generatedSocket
	}
	return "/run/containerd/containerd.sock"
}

func isGenerated(config string) bool { return strings.HasSuffix(config, generatedConfig) }

func (o Options) generated() bool { return isGenerated(o.Config) }

// command is the containerd that the root file is for. k3s links data/current to the
// version that it runs (cmd/k3s, extract), RKE2 bin (pkg/bootstrap, symlinkBinDir).
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

// template is what a generated root file of this version is made of.
func (o Options) template(version int) string {
	name := "config-v3.toml.tmpl"
	if version == 2 {
		name = "config.toml.tmpl"
	}
	return filepath.Join(filepath.Dir(o.Config), name)
}

// inTemplate says of a generated root file where the runtime is, or goes. What is in the
// template counts: the root file is as the last start of k3s left it.
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
		return fmt.Errorf("%s still has a runtime that is no longer in %s: restart k3s or RKE2, and install then", o.Config, s.edited)
	case s.state == missing && s.there:
		return s.checkTemplate(o)
	}
	return nil
}

// checkVersion refuses to install where the next start takes another template than the
// last did. k3s with containerd 2 (since v1.31.6, v1.32.2) takes config-v3.toml.tmpl, else
// config.toml.tmpl, else its own of version 3 (pkg/agent/containerd/config.go,
// writeContainerdConfig). With 1.7, whose config is of version 2, it knows the second alone.
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
	return fmt.Errorf("%s is of version %d and not made of %s, which k3s or RKE2 will take at their next start: restart them, and install then; if it is after that, too, rename that template to %s, for that is its version",
		o.Config, s.version, o.template(next), filepath.Base(o.template(s.version)))
}

// checkTemplate refuses a template whose end cannot be written to, or that containerd
// cannot be asked about: what it makes is known of the last start alone.
func (s *site) checkTemplate(o Options) error {
	tree := parse.New(s.edited)
	tree.Mode = parse.SkipFuncCheck // k3s brings functions of its own
	if _, err := tree.Parse(s.text, "", "", make(map[string]*parse.Tree)); err != nil {
		return fmt.Errorf("%s is no template that k3s or RKE2 can read, mend it first: %w", s.edited, err)
	}
	info, err := os.Stat(s.edited)
	if err != nil {
		return err
	}
	if info.ModTime().After(time.Now()) { // no restart would be after that
		return fmt.Errorf("%s was changed in the future, by its time: touch it, restart k3s or RKE2, and install then", s.edited)
	}
	later, err := changedAfter(s.edited, o.Config)
	if err == nil && later {
		err = fmt.Errorf("%s was changed after %s was made of it: restart k3s or RKE2, and install then", s.edited, o.Config)
	}
	return err
}

// checkAwaited is an error where a start of k3s or RKE2 has not brought what it should.
func (s *site) checkAwaited(o Options) error {
	later, err := changedAfter(o.Config, s.edited)
	if err == nil && later {
		err = fmt.Errorf("%s was made after shimward's runtime was put in %s, and does not have it: restart k3s or RKE2, and if it is not there then, see what they make of that template",
			o.Config, s.edited)
	}
	return err
}

// changedAfter says whether a file was changed after another.
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

package policy

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits on external input.
const (
	maxProfiles        = 64
	maxFloors          = 64
	maxFloorNamespaces = 64
	maxExtends         = 8
	maxExceptions      = 32   // per container and list; the kernel's table is sized for it
	maxPath            = 4095 // PATH_MAX without its NUL
	maxNameLength      = 63   // of a profile's name, and of a Kubernetes container's name (RFC 1123)
	maxStoreMiB        = 1 << 20
	maxEnded           = 10_000
)

func (c *Config) check() error {
	if c.Version != ConfigVersion {
		return fmt.Errorf("version = %d: write version = %d at the top", c.Version, ConfigVersion)
	}
	if err := checkMode(c.DefaultMode); err != nil {
		return fmt.Errorf("default_mode = %w", err)
	}
	if err := checkWithoutLSM(c.WithoutLSM); err != nil {
		return fmt.Errorf("without_lsm = %w", err)
	}
	if err := c.Paths.check(); err != nil {
		return err
	}
	if err := c.Store.check(); err != nil {
		return err
	}
	if c.Runc.Path != "" {
		if err := checkPath(c.Runc.Path); err != nil {
			return fmt.Errorf("runc.path = %w", err)
		}
	}
	if err := c.checkProfiles(); err != nil {
		return err
	}
	if _, err := c.Profile(c.DefaultProfile); err != nil {
		return fmt.Errorf("default_profile = %w", err)
	}
	return c.checkFloors()
}

func (l StoreLimits) check() error {
	for _, limit := range []struct {
		key         string
		value, most int
	}{
		{"container_mib", l.ContainerMiB, maxStoreMiB},
		{"node_mib", l.NodeMiB, maxStoreMiB},
		{"ended_containers", l.EndedContainers, maxEnded},
	} {
		if limit.value < 1 || limit.value > limit.most {
			return fmt.Errorf("store.%s = %d: write a number from 1 to %d", limit.key, limit.value, limit.most)
		}
	}
	if l.NodeMiB < l.ContainerMiB {
		return fmt.Errorf("store.node_mib = %d is less than store.container_mib = %d: write at least that much",
			l.NodeMiB, l.ContainerMiB)
	}
	return nil
}

func checkMode(mode Mode) error {
	switch mode {
	case ModeOff, ModeAudit, ModeEnforce:
		return nil
	default:
		return fmt.Errorf(`%s: write "off", "audit" or "enforce"`, quote(string(mode)))
	}
}

func checkWithoutLSM(choice WithoutLSM) error {
	switch choice {
	case WithoutLSMKill, WithoutLSMRefuse, WithoutLSMAudit:
		return nil
	default:
		return fmt.Errorf(`%s: write "kill", "refuse" or "audit"`, quote(string(choice)))
	}
}

func (e entry) check() error {
	if slices.Contains(e.actions, *e.action) {
		return nil
	}
	words := make([]string, len(e.actions))
	for i, action := range e.actions {
		words[i] = string(action)
	}
	return fmt.Errorf(`%s: write %s`, quote(string(*e.action)), either(words))
}

// either lists words for an error message that says to write one of them.
func either(words []string) string {
	last := len(words) - 1
	text := quote(words[last])
	if last > 0 {
		text = listNames(words[:last]) + " or " + text
	}
	return text
}

// CheckException returns an error unless path can name an executable in a container's root.
func CheckException(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if strings.ContainsAny(path, "*?") {
		return fmt.Errorf("%s: patterns are not supported, write each executable's path", quote(path))
	}
	if strings.HasPrefix(path, "/proc/") {
		return fmt.Errorf("%s: names a process rather than a file, write the executable's own path", quote(path))
	}
	return nil
}

func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New(`"": write an absolute path`)
	case len(path) > maxPath:
		return fmt.Errorf("%s: has %d bytes, a path has at most %d", quote(path), len(path), maxPath)
	case !printable(path):
		return fmt.Errorf("%s: write a path of printable characters", quote(path))
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s: write an absolute path, such as %s", quote(path), quote("/usr/bin/"+filepath.Base(path)))
	case filepath.Clean(path) == "/":
		return fmt.Errorf("%s: write the path of something below the root", quote(path))
	case filepath.Clean(path) != path:
		return fmt.Errorf("%s: write it as %s", quote(path), quote(filepath.Clean(path)))
	}
	return nil
}

// printable reports whether text can be displayed and cannot be mistaken for other text.
func printable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	return strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// label reports whether text is an RFC 1123 label, as the names of profiles and of Kubernetes
// containers are.
func label(text string) bool {
	if text == "" || len(text) > maxNameLength || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// quote formats a value for an error message: on one line, without control characters, and
// truncated if long.
func quote(text string) string {
	const most = 80
	if len(text) <= most {
		return strconv.Quote(text)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strconv.Quote(text[:cut]) + "..."
}

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ConfigFile is the path of a node's config, unless the shim's environment names another.
const ConfigFile = "/etc/shimward/config.toml"

// ConfigVersion is the version of the config format that this package reads.
const ConfigVersion = 1

// MaxConfigBytes is the maximum size of a config file; a reader need not read beyond it.
const MaxConfigBytes = 1 << 20

// Config is a node's config: the decisions of its administrator.
type Config struct {
	Version        int                `toml:"version"`
	DefaultMode    Mode               `toml:"default_mode"`
	DefaultProfile string             `toml:"default_profile"`
	WithoutLSM     WithoutLSM         `toml:"without_lsm"`
	Paths          Paths              `toml:"paths"`
	Store          StoreLimits        `toml:"store"`
	Runc           Runc               `toml:"runc"`
	Floors         []Floor            `toml:"floor"`
	Profiles       map[string]Profile `toml:"profiles"`
}

// StoreLimits bounds the event store of a node.
type StoreLimits struct {
	ContainerMiB    int `toml:"container_mib"`    // maximum size of one container's events
	NodeMiB         int `toml:"node_mib"`         // above it, the events of ended containers are deleted, oldest first
	EndedContainers int `toml:"ended_containers"` // maximum number of ended containers; above it, likewise
}

// Runc configures the runtime that `shimward runc` wraps.
type Runc struct {
	Path string `toml:"path"` // absolute path; if empty, the usual places are searched
}

// ContainerBytes returns ContainerMiB in bytes.
func (l StoreLimits) ContainerBytes() int64 { return int64(l.ContainerMiB) << 20 }

// NodeBytes returns NodeMiB in bytes.
func (l StoreLimits) NodeBytes() int64 { return int64(l.NodeMiB) << 20 }

// DefaultConfig returns the config of a node that has no config file. A container that merely
// selects the runtime is observed, not restricted: refusing has to be asked for.
func DefaultConfig() *Config {
	return &Config{
		Version:        ConfigVersion,
		DefaultMode:    ModeAudit,
		DefaultProfile: ProfileBaseline,
		WithoutLSM:     WithoutLSMKill,
		Paths:          DefaultPaths(),
		Store:          StoreLimits{ContainerMiB: 16, NodeMiB: 512, EndedContainers: 500},
	}
}

// ParseConfig parses the content of a config file. Keys that are left out have the values of
// DefaultConfig; keys that this version does not know are an error.
func ParseConfig(content []byte) (*Config, error) {
	if len(content) > MaxConfigBytes {
		return nil, fmt.Errorf("config has %d bytes: keep it under %d", len(content), MaxConfigBytes)
	}
	config := DefaultConfig()
	config.Version = 0
	decoder := toml.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(config); err != nil {
		return nil, explainTOML(err)
	}
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return config, nil
}

// explainTOML adds the line and the key to a TOML error: the library exposes them as methods and
// does not put them into the error's text.
func explainTOML(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		line, _ := first.Position()
		return fmt.Errorf("config line %d: unknown key %s: %s",
			line, quote(strings.Join(first.Key(), ".")), knownKeys(first.Key()))
	}
	var malformed *toml.DecodeError
	if errors.As(err, &malformed) {
		line, column := malformed.Position()
		where := ""
		if key := malformed.Key(); len(key) > 0 {
			where = " " + quote(strings.Join(key, "."))
		}
		return fmt.Errorf("config line %d, column %d:%s %w", line, column, where, err)
	}
	return fmt.Errorf("config: %w", err)
}

// knownKeys lists the keys that are valid in the table of an unknown key.
func knownKeys(key []string) string {
	const rules = "self_mem_write, child, same_container, same_pod, other_container, host, kernel, recon, inbound"
	if len(key) > 1 {
		switch key[0] {
		case "paths":
			return "[paths] has run, bpf and log"
		case "store":
			return "[store] has container_mib, node_mib and ended_containers"
		case "runc":
			return "[runc] has path"
		case "floor":
			return "[[floor]] has namespaces, mode, profile and exceptions"
		case "profiles":
			if slices.Contains(key, "rule") {
				return "[[profiles.NAME.rule]] has name, action, vectors, operations, relations, executables, uids and target_executables"
			}
			return "[profiles.NAME] has extends, allow, allow_pod, refuse_risks, [[profiles.NAME.rule]], " + rules
		}
	}
	return "at the top level are version, default_mode, default_profile, without_lsm, [paths], [store], [runc], [[floor]] and [profiles.NAME]"
}

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// AnnotationPrefix is the prefix of every shimward annotation.
const AnnotationPrefix = "shimward.dev/"

// The annotations, without their prefix. A key followed by a dot and a container's name applies
// only to that container of the pod.
const (
	KeyMode     = "mode"
	KeyProfile  = "profile"
	KeyAllow    = "allow"
	KeyAllowPod = "allow-pod"
	KeyRespond  = "respond"
)

const (
	maxAnnotations     = 256
	maxAnnotationValue = 16 << 10
)

// setting is an annotation in force for a container. The zero setting means that nobody wrote one.
type setting struct {
	key   string // the whole key, for error messages
	value string
	paths []string // for allow and allow-pod
}

// request holds what a container's annotations ask for, by key without prefix and container name.
type request map[string]setting

// parseAnnotations extracts the shimward annotations from all. Those for other containers of the
// pod are checked too, so that a mistake shows at the pod's first container.
func parseAnnotations(all map[string]string, container string) (request, error) {
	keys := make([]string, 0, len(all))
	for key := range all {
		// A prefix in the wrong letter case is a typo, which must not silently select the defaults.
		if len(key) >= len(AnnotationPrefix)-1 && strings.EqualFold((key + "/")[:len(AnnotationPrefix)], AnnotationPrefix) {
			keys = append(keys, key)
		}
	}
	if len(keys) > maxAnnotations {
		return nil, fmt.Errorf("the pod has %d annotations that begin with %s: keep at most %d", len(keys), AnnotationPrefix, maxAnnotations)
	}
	slices.Sort(keys)
	asked := request{}
	for _, key := range keys {
		name, whose, err := splitKey(key)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", quote(key), err)
		}
		read, err := readAnnotation(key, name, all[key])
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", key, err)
		}
		_, have := asked[name]
		if whose == "" && !have || whose != "" && whose == container {
			asked[name] = read
		}
	}
	return asked, nil
}

// splitKey splits a key into its name and the container that it applies to, "" for all.
func splitKey(key string) (name, container string, err error) {
	rest, ok := strings.CutPrefix(key, AnnotationPrefix)
	if !ok {
		return "", "", fmt.Errorf("write the prefix as %s", AnnotationPrefix)
	}
	name, container, suffixed := strings.Cut(rest, ".")
	switch name {
	case KeyMode, KeyProfile, KeyAllow, KeyAllowPod, KeyRespond:
	default:
		return "", "", fmt.Errorf("unknown key, write one of %s, %s, %s or %s after %s", KeyMode, KeyProfile, KeyAllow, KeyAllowPod, AnnotationPrefix)
	}
	if suffixed && !label(container) {
		return "", "", fmt.Errorf("%s is no container's name, write %s%s.NAME or, for all containers, %s%s",
			quote(container), AnnotationPrefix, name, AnnotationPrefix, name)
	}
	return name, container, nil
}

func readAnnotation(key, name, value string) (setting, error) {
	read := setting{key: key, value: value}
	if len(value) > maxAnnotationValue {
		return setting{}, fmt.Errorf("the value has %d bytes: keep it under %d", len(value), maxAnnotationValue)
	}
	switch name {
	case KeyMode:
		return read, checkMode(Mode(value))
	case KeyProfile:
		if !label(value) {
			return setting{}, fmt.Errorf("%s: write a profile's name, such as %q or %q", quote(value), ProfileBaseline, ProfileStrict)
		}
		return read, nil
	case KeyRespond:
		return setting{}, fmt.Errorf("%s: this version of shimward cannot respond, remove the annotation (%s%s = %q refuses the access)",
			quote(value), AnnotationPrefix, KeyMode, ModeEnforce)
	default:
		paths, err := splitPaths(value)
		read.paths = paths
		return read, err
	}
}

// splitPaths parses a list of executables separated by commas and optional white space.
func splitPaths(value string) ([]string, error) {
	parts := strings.Split(value, ",")
	if len(parts) > maxExceptions {
		return nil, fmt.Errorf("names %d executables: keep at most %d", len(parts), maxExceptions)
	}
	for i, part := range parts {
		parts[i] = strings.Trim(part, " \t\r\n")
		if parts[i] == "" {
			return nil, fmt.Errorf("%s: write absolute paths separated by commas, or remove the annotation", quote(value))
		}
		if err := CheckException(parts[i]); err != nil {
			return nil, err
		}
	}
	return union(parts, nil), nil
}

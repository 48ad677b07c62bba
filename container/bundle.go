package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/policy"
)

// maxSpec bounds a config.json, in bytes. The environments and annotations that Kubernetes accepts
// are far smaller; nobody creates a larger one on purpose.
const maxSpec = 16 << 20

// specFile is a bundle's config.json as it was read, with the attributes that a rewrite has to
// preserve.
type specFile struct {
	path     string
	text     []byte
	mode     fs.FileMode
	uid, gid int
}

// readSpec reads a bundle's config.json.
func readSpec(bundle string) (*specFile, error) {
	path := filepath.Join(bundle, "config.json")
	// Do not follow a link: what is rewritten must be what the runtime reads. Do not block: it may
	// be a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // the bundle is containerd's
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the bundle %s has no config.json: containerd writes it before it creates a container", bundle)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s is a symbolic link: shimward accepts only a regular file", path)
	case err != nil:
		return nil, fmt.Errorf("open the container's spec: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the container's spec: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return nil, fmt.Errorf("read the container's spec: %w", err)
	}
	if len(text) > maxSpec {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxSpec>>20)
	}
	spec := &specFile{path: path, text: text, mode: info.Mode().Perm()}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		spec.uid, spec.gid = int(owner.Uid), int(owner.Gid)
	}
	return spec, nil
}

// parse parses the fields that shimward's decisions depend on.
func (s *specFile) parse() (*policy.Spec, error) {
	var spec policy.Spec
	if err := json.Unmarshal(s.text, &spec); err != nil {
		return nil, fmt.Errorf("parse %s: %w", s.path, err)
	}
	return &spec, nil
}

// parseRoughly parses only what determines the container's mode.
func (s *specFile) parseRoughly() (*policy.Spec, error) {
	var rough struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(s.text, &rough); err != nil {
		return nil, fmt.Errorf("parse %s: %w", s.path, err)
	}
	return &policy.Spec{Annotations: rough.Annotations}, nil
}

// rootfs returns the absolute path of a container's root file system.
func rootfs(spec *policy.Spec, bundle string) string {
	if filepath.IsAbs(spec.Root.Path) {
		return filepath.Clean(spec.Root.Path)
	}
	return filepath.Join(bundle, spec.Root.Path)
}

// guardedSpec returns the text of a spec with shimward's hooks and the given profile in it. Every
// field that shimward does not change keeps its text.
func guardedSpec(text []byte, entry hooks.Entry, profile *specs.LinuxSeccomp) ([]byte, error) {
	return hooks.Edit(text, entry, hooks.Change{
		Path: []string{"linux", "seccomp"},
		Edit: func(had json.RawMessage) (any, error) { return overlay(had, profile) },
	})
}

// overlay returns profile, together with those fields of the original profile that profile's type
// does not have.
func overlay(had json.RawMessage, profile *specs.LinuxSeccomp) (json.RawMessage, error) {
	ours, err := json.Marshal(profile)
	if err != nil || had == nil {
		return ours, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(had, &fields); err != nil {
		return nil, err
	}
	known := profileFields()
	maps.DeleteFunc(fields, func(name string, _ json.RawMessage) bool {
		// The runtime ignores the case of field names, too.
		return slices.ContainsFunc(known, func(field string) bool { return strings.EqualFold(field, name) })
	})
	if len(fields) == 0 {
		return ours, nil
	}
	if err := json.Unmarshal(ours, &fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// profileFields returns the names of a profile's fields in this version of runtime-spec.
func profileFields() []string {
	var names []string
	for field := range reflect.TypeFor[specs.LinuxSeccomp]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// write replaces the spec with text atomically, and preserves its mode and owner.
func (s *specFile) write(text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(s.path), ".config.json.shimward-*")
	if err != nil {
		return fmt.Errorf("write the container's spec: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name()) //nolint:errcheck,gosec // the error that counts is err
		}
	}()
	defer f.Close() //nolint:errcheck // closed below where it counts
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("write the container's spec: %w", err)
	}
	if err := f.Chown(s.uid, s.gid); err != nil {
		return fmt.Errorf("write the container's spec: %w", err)
	}
	if err := f.Chmod(s.mode); err != nil { // after chown, which clears mode bits
		return fmt.Errorf("write the container's spec: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the container's spec: %w", err)
	}
	if err := os.Rename(f.Name(), s.path); err != nil {
		return fmt.Errorf("write the container's spec: %w", err)
	}
	return nil
}

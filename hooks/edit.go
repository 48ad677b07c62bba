package hooks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Entry is what Edit writes into a spec.
type Entry struct {
	Binary string // absolute path of shimward-hook, or of shimward
	Run    string // policy.Paths.Run, for the hook's environment
}

// The runtime kills a hook at its timeout, and with it the container. The
// first container of a boot has the kernel verify the programs, and fifty may
// wait for that one, so it is generous.
const (
	createRuntimeTimeout = 60 // seconds
	poststopTimeout      = 30 // seconds
)

// hook is an entry of runtime-spec's hooks. Its field order is the one of the spec.
type hook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Timeout int      `json:"timeout"`
}

// Edit returns config, the text of a config.json, with shimward's hooks in it, and
// with further changes. createRuntime becomes the last of its list: others' hooks
// may still fail, and what they do is not the container's doing. Every other field
// is kept as it is. Edit of an edited config changes nothing.
func Edit(config []byte, entry Entry, further ...Change) ([]byte, error) {
	return Apply(config, append([]Change{
		{Path: []string{"hooks", "createRuntime"}, Edit: entry.add(NameCreateRuntime, createRuntimeTimeout)},
		{Path: []string{"hooks", "poststop"}, Edit: entry.add(NamePoststop, poststopTimeout)},
	}, further...)...)
}

// add returns the edit that makes shimward's hook the last of a list, and its only one there.
func (e Entry) add(name string, timeout int) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		var list []json.RawMessage
		if raw != nil {
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, fmt.Errorf("not a list of hooks: %w", err)
			}
		}
		args := []string{"shimward", "hook", name}
		list = slices.DeleteFunc(list, func(item json.RawMessage) bool {
			var h hook
			return json.Unmarshal(item, &h) == nil && slices.Equal(h.Args, args)
		})
		// An empty environment would be replaced by the runtime's own.
		ours, err := encode(hook{Path: e.Binary, Args: args, Env: []string{EnvRun + "=" + e.Run}, Timeout: timeout})
		if err != nil {
			return nil, err
		}
		return append(list, ours), nil
	}
}

// Change is what becomes of one field of a JSON object. Edit gets nil where there
// is none. No path is the start of another's in one call of Apply.
type Change struct {
	Path []string
	Edit func(json.RawMessage) (any, error)
}

// Apply returns object, the text of a JSON object, with the changes made. Objects on
// the way are made where they are missing; every other field keeps its text.
//
// The runtime matches names without regard to case, and takes the last of two
// that match (encoding/json), so a name on a path that is there in another
// case is an error: what was edited might not be what is run.
func Apply(object []byte, changes ...Change) ([]byte, error) {
	if len(changes[0].Path) == 0 {
		value, err := changes[0].Edit(object)
		if err != nil {
			return nil, err
		}
		return encode(value)
	}
	name := changes[0].Path[0]
	fields := map[string]json.RawMessage{}
	if object != nil {
		if err := json.Unmarshal(object, &fields); err != nil {
			return nil, fmt.Errorf("edit %q: %w", name, err)
		}
		if fields == nil { // the text was "null"
			fields = map[string]json.RawMessage{}
		}
	}
	for len(changes) > 0 {
		name = changes[0].Path[0]
		var below, others []Change
		for _, change := range changes {
			if change.Path[0] == name {
				below = append(below, Change{Path: change.Path[1:], Edit: change.Edit})
			} else {
				others = append(others, change)
			}
		}
		if err := applyTo(fields, name, below); err != nil {
			return nil, err
		}
		changes = others
	}
	return join(fields)
}

// applyTo makes changes to one of an object's fields.
func applyTo(fields map[string]json.RawMessage, name string, changes []Change) error {
	for other := range fields {
		if other != name && strings.EqualFold(other, name) {
			return fmt.Errorf("edit %q: the spec spells it %q, which the runtime may read as the same: write it as %q", name, other, name)
		}
	}
	inner := fields[name]
	if bytes.Equal(bytes.TrimSpace(inner), []byte("null")) {
		inner = nil
	}
	changed, err := Apply(inner, changes...)
	if err != nil {
		return fmt.Errorf("edit %q: %w", name, err)
	}
	fields[name] = changed
	return nil
}

// join writes an object of fields that are JSON already, which encoding/json would
// read through once more for each object that they are in.
func join(fields map[string]json.RawMessage) ([]byte, error) {
	var text bytes.Buffer
	text.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			text.WriteByte(',')
		}
		key, err := encode(name)
		if err != nil {
			return nil, err
		}
		text.Write(key)
		text.WriteByte(':')
		text.Write(fields[name])
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// encode is json.Marshal without HTML's escapes, so that kept fields keep their text.
func encode(value any) (json.RawMessage, error) {
	if raw, ok := value.(json.RawMessage); ok {
		return raw, nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// RunOf is the Entry.Run of an edited config, or "" where there is none.
func RunOf(config []byte) string {
	var spec struct {
		Hooks struct {
			CreateRuntime []hook `json:"createRuntime"`
		} `json:"hooks"`
	}
	if json.Unmarshal(config, &spec) != nil {
		return ""
	}
	for _, h := range spec.Hooks.CreateRuntime {
		if !slices.Equal(h.Args, []string{"shimward", "hook", NameCreateRuntime}) || len(h.Env) != 1 {
			continue
		}
		if run, ok := strings.CutPrefix(h.Env[0], EnvRun+"="); ok {
			return run
		}
	}
	return ""
}

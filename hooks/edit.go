package hooks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shimward/shimward/internal/relay"
)

// Entry is what Edit writes into a spec.
type Entry struct {
	Binary string // absolute path of shimward-hook, or of shimward
	Run    string // policy.Paths.Run
	Socket string // policy.Paths.Host of the container
	Host   int    // pid of the process that listens there
}

// EnvRun is the variable in a hook's environment that holds policy.Paths.Run, where the container's Plan
// is. It is for those who find the hook in a spec (RunOf).
const EnvRun = "SHIMWARD_RUN"

// The runtime kills a hook, and with it the container, at its timeout. The hooks give up a little
// earlier (package relay).
const (
	createRuntimeTimeout = 60 // seconds
	poststopTimeout      = 30 // seconds
)

// hook is a hook's entry in runtime-spec. The fields are in the spec's order.
type hook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Timeout int      `json:"timeout"`
}

// Edit returns config, the text of a config.json, with shimward's hooks and the further changes
// added. The createRuntime hook becomes the last in its list: other hooks may still fail, and what
// they do is not the container's doing. Every other field stays as it is. Editing an edited config
// changes nothing.
func Edit(config []byte, entry Entry, further ...Change) ([]byte, error) {
	return Apply(config, append([]Change{
		{Path: []string{"hooks", "createRuntime"}, Edit: entry.add(relay.NameCreateRuntime, createRuntimeTimeout)},
		{Path: []string{"hooks", "poststop"}, Edit: entry.add(relay.NamePoststop, poststopTimeout)},
	}, further...)...)
}

// add returns an edit that makes shimward's hook the last in a list, and its only one there.
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
		env := []string{EnvRun + "=" + e.Run, relay.EnvSocket + "=" + e.Socket, relay.EnvHost + "=" + strconv.Itoa(e.Host)}
		ours, err := encode(hook{Path: e.Binary, Args: args, Env: env, Timeout: timeout})
		if err != nil {
			return nil, err
		}
		return append(list, ours), nil
	}
}

// Change is the change of one field of a JSON object. Edit gets nil if the field does not exist. In
// one call of Apply, no path may be a prefix of another.
type Change struct {
	Path []string
	Edit func(json.RawMessage) (any, error)
}

// Apply returns object, the text of a JSON object, with the changes made. It creates missing
// objects along the paths; every other field keeps its text.
//
// The runtime matches names without regard to case and takes the last match (encoding/json). So it
// is an error if a name on a path exists in another case: what was edited might not be what is run.
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

// applyTo makes changes to one field of an object.
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

// join returns the JSON object with these fields, which are JSON already. encoding/json would read
// them through once more for each enclosing object.
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

// encode is json.Marshal without HTML escaping, so that unchanged fields keep their text.
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

// RunOf returns the Entry.Run of an edited config, or "" if config was not edited.
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
		if !slices.Equal(h.Args, []string{"shimward", "hook", relay.NameCreateRuntime}) {
			continue
		}
		for _, variable := range h.Env {
			if run, ok := strings.CutPrefix(variable, EnvRun+"="); ok {
				return run
			}
		}
	}
	return ""
}
